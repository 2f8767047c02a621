"""``quotehelper migrate``: rewrite manifests that were written for other SGX systems."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.cli.exit_codes import EXIT_REFUSED
from quotehelper.cli.output import console, json_option, print_json, printable, talk
from quotehelper.errors import ConfigError, DecodeError
from quotehelper.kube.resources import ENCLAVE, EPC_RESOURCES, INTEL_EPC

if TYPE_CHECKING:
    from quotehelper.kube.migration.migrate import Migrated

_STANDARD_INPUT = Path("-")
_BACKUP = ".orig"
_LIMIT_BYTES = 16 * 1024 * 1024
"""Of a file that are read; the limit in characters is the migration's."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--epc-resource",
    type=click.Choice(list(EPC_RESOURCES)),
    default=INTEL_EPC.name,
    help="What the nodes advertise.",
)
@click.option("--enclave-resource", default=ENCLAVE, help='Gives the enclave device; "": EPC does.')
@click.option("--in-place", is_flag=True, help="Rewrite the files; what they were is kept as FILE.orig.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if something would change.")
@json_option
def command(
    *, files: tuple[Path, ...], epc_resource: str, enclave_resource: str, in_place: bool, check: bool, as_json: bool
) -> None:
    """Rewrite manifests for quotehelper, and explain each change.

    Reads manifests for AKS's confcom add-on, Intel's SGX plugin, webhook and aesmd, and Alibaba's plugin, in YAML or
    JSON; "-" is standard input. The new text goes to standard output, the explanation to standard error. Comments,
    order and layout stay. All files are understood before any is written. docs/migration.md lists what maps to what.
    """
    if in_place and check:
        raise click.UsageError("--in-place and --check exclude each other")
    if in_place and _STANDARD_INPUT in files:
        raise click.UsageError("standard input can't be rewritten in place")
    done = _migrate(files, epc_resource, enclave_resource or None)
    changed = [path for path, (old, new) in done.items() if new.text != old]
    if in_place:
        for path in changed:
            _refuse_backup(path)
        for path in changed:
            _rewrite(path, done[path][1].text)
    if as_json:
        print_json({"files": [_as_json(path, old, new) for path, (old, new) in done.items()]})
    else:
        if not in_place and not check:
            _print_texts([new.text for _, new in done.values()])
        _explain(done, to_stderr=not in_place and not check)
    if check and changed:
        sys.exit(EXIT_REFUSED)


def _migrate(files: tuple[Path, ...], epc: str, enclave: str | None) -> dict[Path, tuple[str, Migrated]]:
    """Each file's old text and what becomes of it."""
    try:
        from quotehelper.kube.migration.migrate import migrate_text
        from quotehelper.kube.migration.workloads import Target
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"migrate needs {error.name}, which is not installed", "Install it: pip install 'quotehelper[kubernetes]'"
        ) from error
    target = Target(EPC_RESOURCES[epc], enclave)
    done = {}
    for path in files:
        text = _read(path)
        try:
            done[path] = text, migrate_text(text, target)
        except DecodeError as error:
            raise DecodeError(str(path), error.field, error.reason) from error
    return done


def _read(path: Path) -> str:
    """A file's text with its line ends as they are. Raises DecodeError for what is no text."""
    if path == _STANDARD_INPUT:
        data = sys.stdin.buffer.read(_LIMIT_BYTES + 1)
    else:
        with path.open("rb") as file:
            data = file.read(_LIMIT_BYTES + 1)
    if len(data) > _LIMIT_BYTES:
        raise DecodeError(str(path), "", f"more than {_LIMIT_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(str(path), "", "not UTF-8 text", offset=error.start) from error


def _refuse_backup(path: Path) -> None:
    backup = path.with_name(path.name + _BACKUP)
    if backup.exists():
        raise ConfigError(f"{backup} is there already", "Move it away; it may be what the file was before")


def _rewrite(path: Path, text: str) -> None:
    """Replace a file whole; what it was stays beside it."""
    path = path.resolve()  # a link stays a link
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(text.encode())
        partial.chmod(path.stat().st_mode & 0o7777)
        os.link(path, path.with_name(path.name + _BACKUP))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _print_texts(texts: list[str]) -> None:
    """The new texts as one stream of documents."""
    for at, text in enumerate(texts):
        if at and not text.lstrip().startswith("---"):
            click.echo("---")
        click.echo(text.encode(), nl=not text.endswith("\n"))


def _as_json(path: Path, old: str, new: Migrated) -> dict[str, object]:
    changes = [change.as_json() for change in new.changes]
    return {"file": str(path), "changed": new.text != old, "changes": changes, "text": new.text}


def _explain(done: dict[Path, tuple[str, Migrated]], *, to_stderr: bool) -> None:
    """A table of what was changed and why; remarks stand in it, too."""
    from rich.table import Table

    out = console(to_stderr=to_stderr)
    for path, (old, new) in done.items():
        if not new.changes:
            talk(f"{printable(str(path))}: nothing to change")
            continue
        table = Table("line", "object", "was", "is", "why", box=None, pad_edge=False)
        for change in new.changes:
            after = "[dim]as it was[/]" if change.rule.is_remark else printable(change.after or "(gone)")
            cells = (str(change.line), printable(change.thing), printable(change.before), after)
            table.add_row(*cells, change.rule.value)
        out.print(f"[bold]{printable(str(path))}[/]")
        out.print(table)
        if new.text == old:
            talk(f"{printable(str(path))}: nothing to change; see the remarks")
