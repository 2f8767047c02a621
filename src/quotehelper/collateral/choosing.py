"""A platform's certificate for its raw TCB: `pck_selection` over what is kept. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.collateral.pck_selection import select
from quotehelper.documents.signed_json import split_signed
from quotehelper.documents.tcb_info import NAME, parse_tcb_info
from quotehelper.errors import SourceCause, SourceError

if TYPE_CHECKING:
    from quotehelper.collateral.catalog import Document, PckCertificate, PckSet, RawTcb


def choose(found: PckSet, tcb_info: Document, raw: RawTcb) -> PckCertificate:
    """The certificate among ``found`` for a platform at ``raw``; ``tcb_info`` is its family's, proven.

    Raises SourceError (NOT_FOUND) if none fits.
    """
    levels = parse_tcb_info(split_signed(tcb_info.body, NAME).body).levels
    chosen = select(found.certificates, levels, raw)
    if chosen is None:
        raise SourceError(SourceCause.NOT_FOUND, "PCK certificate", "none fits the platform's raw TCB")
    return chosen
