"""``quotehelper hardware-report``: what this machine has of SGX and how its platform does, as one redacted archive."""

from __future__ import annotations

import io
import json
import platform as python_platform
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper import __version__
from quotehelper.cli.exit_codes import EXIT_UNAVAILABLE
from quotehelper.cli.platform_options import platform_options

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping
    from typing import Any

    from quotehelper.cli.survey_process import Order
    from quotehelper.platforms.dcap.files import DcapFiles

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SUMMARY_NAME_WIDTH = 18
_REPORT_SIZE = 432


@click.command()
@click.option(
    "--platform",
    type=click.Choice(["dcap", "upstream", "simulated"]),
    default="dcap",
    help="Whose quoting is looked at.",
)
@platform_options
@click.option(
    "--report", type=_FILE, help="A report (432 bytes) that an enclave here made for `target-info`: quote it."
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, path_type=Path),
    help="Collateral, as `verify` takes it: verify that quote against Intel's root.",
)
@click.option("--insecure-simulated-root", type=_FILE, help="Verify against this simulated root instead.")
@click.option("--socket", metavar="PATH", help="A daemon that runs here: hold it to the conformance list, gently.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1, 3600), default=120.0, help="Seconds for all steps.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("quotehelper-hardware-report.tar.gz"),
    show_default=True,
    help="The archive.",
)
def command(  # noqa: PLR0913  one argument an option
    *,
    platform: str,
    state: Path | None,
    upstream: str,
    dcap_library: str | None,
    dcap_enclaves: str | None,
    dcap_provider: str | None,
    report: Path | None,
    bundle: Path | None,
    insecure_simulated_root: Path | None,
    socket: str | None,
    timeout_s: float,
    out: Path,
) -> None:
    """Look at this machine's SGX, try its platform step by step, and write one archive to send to the project.

    The archive is meant to be read before it is sent: a few small JSON files. It holds no key, PPID, platform id,
    quote, certificate, host name or address. The platform runs in a process of its own, so that one which hangs or
    crashes is a result too. Exit code 0 if every step was done, 3 if not; the archive is written either way.
    """
    import datetime as dt

    from quotehelper.cli.output import write_result
    from quotehelper.cli.survey_process import Order
    from quotehelper.platforms.dcap.files import DcapFiles
    from quotehelper.platforms.registry import PlatformSettings

    files = DcapFiles(dcap_library, dcap_enclaves, dcap_provider)
    settings = PlatformSettings(platform, "" if state is None else str(state), files, upstream)
    with tempfile.TemporaryDirectory(prefix="quotehelper-report-") as directory:
        quote = Path(directory) / "quote"
        order = Order(settings, "" if report is None else _read_report(report).hex(), str(quote))
        steps, log = _survey(order, timeout_s)
        verdict = _verdict(quote, bundle, insecure_simulated_root, dt.datetime.now(dt.UTC))
    documents = {
        "about.json": {"quotehelper": __version__, "python": python_platform.python_version(), "platform": platform},
        "machine.json": _machine(files),
        "steps.json": steps,
        "log.json": log,
        "verdict.json": verdict,
        "conformance.json": _conformance(socket, report, bundle, insecure_simulated_root),
    }
    write_result(out, _pack(documents))
    _summarise(steps, verdict, out)
    if any(step["outcome"] != "done" for step in steps):
        sys.exit(EXIT_UNAVAILABLE)


def _read_report(path: Path) -> bytes:
    raw = path.read_bytes()[: _REPORT_SIZE + 1]
    if len(raw) != _REPORT_SIZE:
        raise click.UsageError(f"{path} has not the {_REPORT_SIZE} bytes of a report")
    return raw


def _survey(order: Order, timeout_s: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The results of all steps, the last of them perhaps how the process ended; and the log, redacted."""
    from quotehelper.platforms.survey import STEPS

    command_line = [sys.executable, "-m", "quotehelper.cli.survey_process", json.dumps(order)]
    try:
        done = subprocess.run(command_line, capture_output=True, check=False, timeout=timeout_s)  # noqa: S603  our own program
        ended = "" if done.returncode == 0 else _ending(done.returncode)
        out, err = done.stdout, done.stderr
    except subprocess.TimeoutExpired as hung:
        ended, out, err = f"no end within {timeout_s:g} s", hung.stdout or b"", hung.stderr or b""
    steps = [_redacted(line) for line in _json_lines(out)]
    if ended:
        step = STEPS[len(steps)] if len(steps) < len(STEPS) else STEPS[-1]
        steps.append({"step": step, "outcome": "ended", "detail": ended, "facts": {}, "milliseconds": []})
    return steps, [_redacted(line) for line in _json_lines(err)]


def _ending(code: int) -> str:
    return f"the process ended by {signal.Signals(-code).name}" if code < 0 else f"the process ended with code {code}"


def _json_lines(raw: bytes) -> Iterable[dict[str, Any]]:
    """The JSON objects among the lines of ``raw``; others, which libraries print, as text."""
    for line in raw.decode(errors="backslashreplace").splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        yield document if isinstance(document, dict) else {"text": line}


def _redacted(document: Mapping[str, Any]) -> dict[str, Any]:
    """``document`` without host name and long hexadecimal numbers in its texts; ``facts`` hold none by design."""
    from quotehelper.platforms.dcap.provider import redact

    host = python_platform.node()

    def clean(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = redact(value)
        return text.replace(host, "(host)") if host else text

    return {name: value if name == "facts" else clean(value) for name, value in document.items()}


def _machine(files: DcapFiles) -> dict[str, Any]:
    """Processor, kernel, devices, and which of Intel's files there are, by their hashes."""
    from quotehelper.platforms.hardware import obstacles, read_hardware

    hardware = read_hardware(library=files.library, provider=files.provider)
    return {
        "kernel": python_platform.release(),
        "hardware": hardware._asdict()
        | {
            name: node and node._asdict()
            for name, node in (("enclave", hardware.enclave), ("provision", hardware.provision))
        },
        "obstacles": [obstacle._asdict() for obstacle in obstacles(hardware)],
        "files": {str(path): _hash(path) for path in _intel_files(hardware.library, hardware.provider, files.enclaves)},
    }


def _intel_files(library: str | None, provider: str | None, enclaves: str | None) -> list[Path]:
    """Intel's files beside those that are used: libraries and signed enclaves."""
    directories = {Path(path).parent for path in (library, provider) if path is not None}
    if enclaves is not None:
        directories.add(Path(enclaves))
    named = [*(Path(path) for path in (library, provider) if path is not None)]
    found = [path for directory in sorted(directories) for path in directory.glob("libsgx_*.so*")]
    return sorted({path for path in (*named, *found) if path.is_file()})


def _hash(path: Path) -> str:
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error.strerror or "unreadable"


def _verdict(quote: Path, bundle: Path | None, simulated_root: Path | None, at: dt.datetime) -> dict[str, Any]:
    """What verification says of the quote, without what it says of the application; or why it was left out."""
    if not quote.exists():
        return {"left_out": "no quote was made: it takes --report"}
    if bundle is None:
        return {"left_out": "no collateral was given: --bundle"}
    from quotehelper.cli.outcome import judge
    from quotehelper.cli.trust import read_roots
    from quotehelper.cli.verdict_json import as_document
    from quotehelper.collateral.bundle import read_bundle
    from quotehelper.verification.verify import Verifier

    verifier = Verifier(read_bundle(bundle), roots=read_roots(simulated_root, None))
    document = as_document(judge("quote", quote.read_bytes(), verifier, at))
    return {name: value for name, value in document.items() if name not in {"report", "quote"}}


def _conformance(
    socket: str | None, report: Path | None, bundle: Path | None, simulated_root: Path | None
) -> dict[str, Any]:
    """What `quotehelper conformance --gentle` says of the daemon at ``socket``; or why it was left out."""
    if socket is None:
        return {"left_out": "no daemon was named: --socket"}
    options = {"--report": report, "--bundle": bundle, "--insecure-simulated-root": simulated_root}
    given = [part for name, path in options.items() if path is not None for part in (name, str(path))]
    command_line = [
        sys.executable,
        "-m",
        "quotehelper",
        "conformance",
        "--gentle",
        "--json",
        "--socket",
        socket,
        *given,
    ]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)  # noqa: S603  our own program; ends by its own deadlines
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return _redacted({"left_out": done.stderr})
    return _redacted(document) | {"results": [_redacted(row) for row in document["results"]]}


def _pack(documents: Mapping[str, object]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, document in documents.items():
            raw = json.dumps(document, indent=2).encode()
            entry = tarfile.TarInfo(f"quotehelper-hardware-report/{name}")
            entry.size, entry.mode = len(raw), 0o644
            archive.addfile(entry, io.BytesIO(raw))
    return packed.getvalue()


def _summarise(steps: Iterable[Mapping[str, Any]], verdict: Mapping[str, Any], out: Path) -> None:
    from statistics import median

    from quotehelper.cli.output import console, printable

    screen = console()
    for step in steps:
        times = step["milliseconds"]
        took = f"  {median(times):.3f} ms" if times else ""
        said = f"  {step['detail']}" if step["detail"] else ""
        screen.print(printable(f"{step['step']:<{_SUMMARY_NAME_WIDTH}}{step['outcome']}{took}{said}"))
    told = (
        verdict.get("left_out") or f"{'accepted' if verdict['accepted'] else 'not accepted'}, {verdict['tcb_status']}"
    )
    screen.print(printable(f"{'verified':<{_SUMMARY_NAME_WIDTH}}{told}"))
    screen.print(printable(f"Written to {out}: read it, then send it"))
