"""The quotes that Intel's service gave to real clients: read by us, verified by somebody else under their own root."""

from __future__ import annotations

import datetime as dt

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import frames
from harness import VECTORS
from quotehelper.sgx.quote import read_quote

RECORDED = VECTORS / "frames"
QUOTES = [path for path in sorted(RECORDED.glob("*/*.res")) if frames.reply(path.read_bytes())[0] == 17]
AT = int(dt.datetime(2026, 11, 24, tzinfo=dt.UTC).timestamp())


@pytest.mark.parametrize("path", QUOTES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recorded_quote_is_read_and_verifies_under_its_root(path: object) -> None:
    _, answer = frames.reply(path.read_bytes())  # type: ignore[attr-defined]
    if answer[1] != 0:
        assert answer == {1: 47}, "the exchange with a bad MAC has no quote"
        return
    assert isinstance(answer[2], bytes)
    quote = read_quote(answer[2])
    exact = quote._replace(trailing=b"").encode()
    assert answer[2] == exact.ljust(len(answer[2]), b"\0"), "a quote, then zeros"
    collateral = dcap_qvl.QuoteCollateralV3.from_json((RECORDED / "emulated-collateral.json").read_text())
    root = x509.load_pem_x509_certificate((RECORDED / "emulated-root.pem").read_bytes()).public_bytes(Encoding.DER)
    assert dcap_qvl.verify_with_root_ca(exact, collateral, root, AT).status == "UpToDate"
