"""Whatever is shown, it is shown or refused: no other exception leaves, and nothing moves the cursor."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from harness import VECTORS
from quotehelper.cli.show import read_document, show_document
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [
    *sorted((VECTORS / "quotes" / "v15-swhardening-automata").iterdir()),
    *sorted((VECTORS / "quotes").glob("*.bin")),
    VECTORS / "frames" / "emulated-collateral.json",
]


def shown_or_refused(raw: bytes) -> str:
    out = io.StringIO()
    try:
        show_document(raw, Console(file=out, width=200))
    except DecodeError as error:
        return str(error)
    return out.getvalue()


@given(st.binary(max_size=2000))
def test_random_bytes_are_shown_or_refused(raw: bytes) -> None:
    assert shown_or_refused(raw)


@settings(max_examples=300)
@given(st.sampled_from(DOCUMENTS), st.integers(0, 1 << 16), st.integers(0, 7), st.booleans())
def test_damaged_documents_are_shown_or_refused(path: Path, at: int, bit: int, cut: bool) -> None:  # noqa: FBT001  drawn
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    text = shown_or_refused(bytes(raw[: at % len(raw)] if cut else raw))
    assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("field", ["tcb_info", "pck_crl", "pck_crl_issuer_chain"])
@pytest.mark.parametrize("value", ["\ud800", "", None, 7, "x" * 100, {}])
def test_collateral_with_something_else_in_a_field_is_refused(field: str, value: object) -> None:
    collateral = json.loads((VECTORS / "frames" / "emulated-collateral.json").read_text())
    with pytest.raises(DecodeError):
        read_document(json.dumps(collateral | {field: value}).encode())


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "meta.json"], ids=lambda path: path.name)
def test_hexadecimal_is_shown_as_what_it_stands_for(path: Path) -> None:
    raw = path.read_bytes()
    assert read_document(raw.hex().encode()) == read_document(raw)
