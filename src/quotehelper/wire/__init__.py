"""Bytes from outside, cut with care: the one forward-only reader, fixed layouts, and protobuf fields. Pure."""

from quotehelper.wire.reader import Reader
from quotehelper.wire.structure import U16, U32, U64, Octets, Structure, Substructure

__all__ = ["U16", "U32", "U64", "Octets", "Reader", "Structure", "Substructure"]
