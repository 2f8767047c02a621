"""quotehelper: one daemon per node makes SGX quotes for every application on it, in Intel's AESM protocol."""

__version__ = "0.1.0"
