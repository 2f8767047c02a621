"""``quotehelper show``: decode whatever SGX attestation consists of; it says what is there, not whether it is true."""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from quotehelper.cli.facts import TITLE
from quotehelper.cli.output import DEBUG_WARNING, console, json_option, print_json, printable
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.tree import Tree

    from quotehelper.cli.facts import Facts

SIZE_LIMIT = 4 << 20
"""Bytes of a file that are read: PCCS documents with many platforms stay below."""

NOT_VERIFIED = "not verified: this is what the bytes say, not whether it is true"


class Shown(NamedTuple):
    """A document: what it is, and what it says."""

    kind: str
    facts: Facts


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@json_option
def command(file: Path, *, as_json: bool) -> None:
    """Decode FILE ("-": standard input) for people, or as JSON.

    Takes quotes (versions 3 to 5, SGX and TDX), reports, target infos, key ids, QE report infos, certificates and
    chains, CRLs, TCB infos, QE identities and collateral; binary, PEM, JSON, hexadecimal or base64. Nothing is
    verified.
    """
    shown = read_document(_read(file))
    if as_json:
        print_json({"kind": shown.kind, "verified": False, **_untitled(shown.facts)})
    else:
        _print(shown, console())


def show_document(raw: bytes, out: Console) -> None:
    """Print the document in ``raw`` for people. Raises DecodeError."""
    _print(read_document(raw), out)


def read_document(raw: bytes) -> Shown:
    """What ``raw``, which anybody may have written, is and says. Raises DecodeError, naming what was tried."""
    from quotehelper.cli.describe_documents import read_json, read_pem

    text = raw.strip(b"\0 \t\r\n")
    if text.startswith(b"-----BEGIN "):
        return Shown(*read_pem(text))
    if text.startswith(b"{"):
        return Shown(*read_json(text))
    if (unwrapped := unwrap(text)) is not None:
        return read_document(unwrapped)
    return _read_binary(raw)


def _read(file: Path) -> bytes:
    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
        raw = stream.read(SIZE_LIMIT + 1)
    if len(raw) > SIZE_LIMIT:
        raise DecodeError("Document", "", f"more than {SIZE_LIMIT} bytes: no attestation document is that large")
    if not raw:
        raise DecodeError("Document", "", "empty")
    return raw


def unwrap(text: bytes) -> bytes | None:
    """What ``text`` is the hexadecimal or base64 form of, if it can be either."""
    compact = b"".join(text.split())
    if len(compact) < _SHORTEST or not compact.isascii():
        return None
    try:
        return bytes.fromhex(compact.decode())
    except ValueError:
        pass
    try:
        return base64.b64decode(compact, validate=True)
    except binascii.Error:
        return None


def _read_binary(raw: bytes) -> Shown:
    from quotehelper.cli import describe
    from quotehelper.cli.describe_documents import read_der
    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.quote import read_quote
    from quotehelper.sgx.report import Report, ReportBody, TargetInfo

    by_size: dict[int, tuple[str, Callable[[bytes], Facts]]] = {
        AttestationKeyId.SIZE: ("attestation key id", lambda b: describe.describe_key_id(AttestationKeyId(b))),
        ReportBody.SIZE: ("report body", lambda b: describe.describe_body(ReportBody(b))),
        Report.SIZE: ("report", lambda b: describe.describe_report(Report(b))),
        TargetInfo.SIZE: ("target info", lambda b: describe.describe_target_info(TargetInfo(b))),
        QeReportInfo.SIZE: ("QE report info", lambda b: describe.describe_qe_report_info(QeReportInfo(b))),
    }
    if len(raw) in by_size:
        kind, read = by_size[len(raw)]
        return Shown(kind, read(raw))
    if raw[:1] == b"\x30":
        return Shown(*read_der(raw))
    return Shown("quote", describe.describe_quote(read_quote(raw)))


_SHORTEST = 64
"""Characters that hexadecimal or base64 text of a document has at least."""

_IDENTIFIER_DIGITS = 32
"""Hexadecimal digits of the shortest identifier."""

_QUIET = {TITLE, "signature", "attestation_key", "qe_report_signature", "auth_data", "key_id", "mac"}
"""Facts that tell people nothing: left to JSON."""


def _untitled(value: Any) -> Any:  # noqa: ANN401  any fact
    """Facts without the titles that are for people."""
    if isinstance(value, list):
        return [_untitled(each) for each in value]
    if isinstance(value, dict):
        return {name: _untitled(inner) for name, inner in value.items() if name != TITLE}
    return value


def _print(shown: Shown, out: Console) -> None:
    from rich.tree import Tree

    tree = Tree(f"[bold]{printable(shown.kind)}[/]  [yellow]{NOT_VERIFIED}[/]", guide_style="dim")
    _grow(tree, shown.facts)
    out.print(tree)


def _grow(tree: Tree, facts: Facts) -> None:
    width = max((len(name) for name, value in facts.items() if not _is_branch(value)), default=0)
    for name, value in facts.items():
        if isinstance(value, dict):
            _grow(tree.add(f"[bold cyan]{printable(name)}[/]"), value)
        elif _is_branch(value):
            branch = tree.add(f"[bold cyan]{printable(name)}[/]")
            for child in value:
                _grow(branch.add(f"[cyan]{printable(child.get(TITLE, name))}[/]"), child)
        elif name not in _QUIET and not _is_void(name, value):
            tree.add(f"{name:<{width}}  {_value(name, value)}")


def _is_branch(value: Any) -> bool:  # noqa: ANN401  any fact
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _is_void(name: str, value: Any) -> bool:  # noqa: ANN401  any fact
    """Zeros where something could stand but mostly does not (KSS fields, reserved identifiers)."""
    is_zero = isinstance(value, str) and len(value) >= _IDENTIFIER_DIGITS and not value.strip("0")
    return is_zero and name != "report_data"


def _value(name: str, value: Any) -> str:  # noqa: ANN401  any fact
    if name == "debug" and value:
        return DEBUG_WARNING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return printable(", ".join(map(str, value)))
    return printable(str(value))
