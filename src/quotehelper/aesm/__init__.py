"""Intel's AESM protocol: messages and frames, status codes, and a client."""
