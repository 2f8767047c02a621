"""Which of a platform's PCK certificates fits its TCB, as Intel's PCKCertSelection library decides. Pure.

Source: dcap 6.2. Certificates go into buckets, one a TCB level in TCB info's order and one for the rest: each into
the first whose level it reaches. Then the first certificate that the platform's raw TCB reaches is taken, walking
the buckets in order, inside each from higher to lower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.collateral.catalog import PckCertificate, RawTcb
    from quotehelper.documents.tcb_info import TcbLevel


def select(certificates: Sequence[PckCertificate], levels: Sequence[TcbLevel], raw: RawTcb) -> PckCertificate | None:
    """The certificate for a platform at ``raw``, which must be 32 and 4 hexadecimal digits; None if none fits.

    ``certificates`` are proven and of one platform; ``levels`` stand as in its TCB info, from the highest down.
    """
    buckets: list[list[PckCertificate]] = [[] for _ in range(len(levels) + 1)]
    for certificate in certificates:
        tcb = certificate.tcb
        reached = (
            number
            for number, level in enumerate(levels)
            if _covers(tcb, [part.svn for part in level.components], level.pce_svn)
        )
        _insert(buckets[next(reached, len(levels))], certificate)
    ordered = (certificate for bucket in buckets for certificate in bucket)
    return next(
        (c for c in ordered if _covers(raw, c.tcb.components, c.tcb.pce_svn_number)),
        None,
    )


def _insert(bucket: list[PckCertificate], certificate: PckCertificate) -> None:
    """Put ``certificate`` before the first in ``bucket`` whose TCB it covers, else behind all."""
    lower = (
        place
        for place, other in enumerate(bucket)
        if _covers(certificate.tcb, other.tcb.components, other.tcb.pce_svn_number)
    )
    bucket.insert(next(lower, len(bucket)), certificate)


def _covers(tcb: RawTcb, components: Sequence[int], pce_svn: int) -> bool:
    """Whether all 16 components and the PCESVN of ``tcb`` are at least these."""
    if tcb.pce_svn_number < pce_svn:
        return False
    return all(have >= wanted for have, wanted in zip(tcb.components, components, strict=True))
