"""The recorded cases of ``tests/vectors/quotes``: a quote, its collateral, roots, and the time to verify at."""

from __future__ import annotations

import datetime as dt
import functools
import json
from typing import TYPE_CHECKING, NamedTuple

from harness import VECTORS
from quotehelper.documents.collateral import Collateral, from_files
from quotehelper.verification.roots import Roots
from quotehelper.verification.semantics import INTEL, Semantics
from quotehelper.verification.verify import Verifier

if TYPE_CHECKING:
    from quotehelper.verification.result import VerifiedQuote

CASES = tuple(sorted(path.name for path in (VECTORS / "quotes").iterdir() if path.is_dir()))
PRIVATE_ROOT = "v36-synthetic-private-root"
"""The one case that does not lead to Intel's root."""


class Case(NamedTuple):
    """One case, and what it is to be verified with."""

    quote: bytes
    collateral: Collateral
    roots: Roots
    at: dt.datetime


@functools.cache
def load_case(name: str) -> Case:
    """The case in the directory ``name``, or the only one whose name begins so."""
    (found,) = (case for case in CASES if case.startswith(name))
    files = {path.name: path.read_bytes() for path in (VECTORS / "quotes" / found).iterdir()}
    roots = Roots.insecure(files["trusted_root.pem"]) if found == PRIVATE_ROOT else Roots.intel()
    at = dt.datetime.fromisoformat(json.loads(files["meta.json"])["check_time"])
    return Case(files["quote.bin"], from_files(files), roots, at)


@functools.cache
def verify_case(name: str, *, semantics: Semantics = INTEL, later: dt.timedelta = dt.timedelta(0)) -> VerifiedQuote:
    """The case's verified quote, ``later`` than at its time."""
    case = load_case(name)
    return Verifier(case.collateral, roots=case.roots, semantics=semantics).verify(case.quote, at=case.at + later)
