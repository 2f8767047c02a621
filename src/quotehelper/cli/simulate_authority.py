"""The commands of ``quotehelper simulate`` that change what the authority says: every verdict can be had."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.cli.output import json_option, print_facts, print_json

if TYPE_CHECKING:
    from quotehelper.platforms.simulated.state import PlatformState

state_option = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The platform's state directory.",
)
_ADVISORIES = click.option(
    "--advisory",
    "advisories",
    multiple=True,
    metavar="ID",
    help="What is open on the older levels; may be repeated.  [default: SIMULATED-SA-…]",
)
_OFF = click.option("--off", is_flag=True, help="The level needs it no longer.")
_DOCUMENTS = ("tcb-info", "qe-identity", "pck-crl", "root-ca-crl")
_documents_argument = click.argument("documents", type=click.Choice(_DOCUMENTS), nargs=-1)


@click.command("tcb-recovery")
@state_option
@_ADVISORIES
@click.option("--withdraw", is_flag=True, help="Older levels are no longer listed: their TCB is not supported.")
@json_option
def tcb_recovery(state: Path, advisories: tuple[str, ...], *, withdraw: bool, as_json: bool) -> None:
    """Publish a higher TCB level: platforms are OutOfDate until `simulate update-platform`.

    A level that needed another configuration becomes OutOfDateConfigurationNeeded.
    """
    from quotehelper.platforms.simulated import events

    show(events.recover_tcb(state, _now(), advisories, withdraw=withdraw), as_json=as_json)


@click.command("update-platform")
@state_option
@json_option
def update_platform(state: Path, *, as_json: bool) -> None:
    """Bring microcode and PCE to the authority's current level, with a new PCK certificate.

    A running daemon takes it over in a second; its clients must ask for the target info again.
    """
    from quotehelper.platforms.simulated import provisioning

    show(provisioning.update_platform(state, _now()), as_json=as_json)


@click.command("configuration-needed")
@state_option
@_OFF
@json_option
def configuration_needed(state: Path, *, off: bool, as_json: bool) -> None:
    """Say of the platform's TCB level that the BIOS must be configured: ConfigurationNeeded."""
    from quotehelper.platforms.simulated.settings import Condition

    _set(state, Condition.CONFIGURATION_NEEDED, off=off, as_json=as_json)


@click.command("hardening-needed")
@state_option
@_OFF
@json_option
def hardening_needed(state: Path, *, off: bool, as_json: bool) -> None:
    """Say of the platform's TCB level that enclaves must harden themselves: SWHardeningNeeded.

    With configuration-needed before or after: ConfigurationAndSWHardeningNeeded.
    """
    from quotehelper.platforms.simulated.settings import Condition

    _set(state, Condition.SW_HARDENING_NEEDED, off=off, as_json=as_json)


@click.command("qe-out-of-date")
@state_option
@_ADVISORIES
@json_option
def qe_out_of_date(state: Path, advisories: tuple[str, ...], *, as_json: bool) -> None:
    """Release a newer quoting enclave: OutOfDate until `simulate update-qe` to the version that this prints."""
    from quotehelper.platforms.simulated import events

    show(events.release_qe(state, _now(), advisories), as_json=as_json)


@click.command()
@click.argument("what", type=click.Choice(["pck", "intermediate", "signer", "tcb", "qe"]))
@state_option
@json_option
def revoke(what: str, state: Path, *, as_json: bool) -> None:
    """Revoke a certificate or a level, so that every quote by it is refused.

    pck: the platform's certificate. intermediate: its certification authority's. signer: whoever signs TCB info and QE
    identity. tcb: the platform's TCB level. qe: the quoting enclave's level.
    """
    from quotehelper.platforms.simulated import events
    from quotehelper.platforms.simulated.settings import Condition, Subject

    levels = {"tcb": Subject.PLATFORM, "qe": Subject.QE}
    if what in levels:
        show(events.change_level(state, levels[what], Condition.REVOKED), as_json=as_json)
    else:
        show(events.revoke_certificate(state, what), as_json=as_json)


@click.command()
@click.argument("advisories", metavar="ID...", nargs=-1, required=True)
@click.option("--on", type=click.Choice(["platform", "qe"]), default="platform", help="Whose level is open to it.")
@state_option
@json_option
def advisory(advisories: tuple[str, ...], on: str, state: Path, *, as_json: bool) -> None:
    """Put advisories on the platform's, or the quoting enclave's, present level; its status stays."""
    from quotehelper.platforms.simulated import events
    from quotehelper.platforms.simulated.settings import Subject

    show(events.change_level(state, Subject(on), advisory_ids=advisories), as_json=as_json)


@click.command()
@_documents_argument
@state_option
@json_option
def expire(documents: tuple[str, ...], state: Path, *, as_json: bool) -> None:
    """Have documents exported as if nobody had renewed them in time: all of them, or those named."""
    from quotehelper.platforms.simulated import events
    from quotehelper.platforms.simulated.settings import Document

    show(events.expire(state, map(Document, documents or _DOCUMENTS)), as_json=as_json)


@click.command()
@_documents_argument
@state_option
@json_option
def renew(documents: tuple[str, ...], state: Path, *, as_json: bool) -> None:
    """Have documents exported fresh again: all of them, or those named."""
    from quotehelper.platforms.simulated import events
    from quotehelper.platforms.simulated.settings import Document

    show(events.renew(state, map(Document, documents or _DOCUMENTS)), as_json=as_json)


@click.command()
@state_option
@json_option
def reset(state: Path, *, as_json: bool) -> None:
    """Have the authority say again what it said at first; platforms stay as they are."""
    from quotehelper.platforms.simulated import events

    show(events.reset(state), as_json=as_json)


COMMANDS = (
    tcb_recovery,
    update_platform,
    configuration_needed,
    hardening_needed,
    qe_out_of_date,
    revoke,
    advisory,
    expire,
    renew,
    reset,
)


def show(state: PlatformState, *, as_json: bool) -> None:
    """What the platform is, and what its authority says of it."""
    from quotehelper.errors import ConfigError
    from quotehelper.platforms.simulated.ruling import describe_settings
    from quotehelper.platforms.simulated.state import describe

    facts, ruling = describe(state.directory), None
    try:
        ruling = describe_settings(state)
    except ConfigError as error:  # quoting, too, needs no authority
        facts["authority_says"] = error.problem
    if as_json:
        print_json({**facts, "authority_says": ruling})
        return
    print_facts("Simulated platform", facts, as_json=False)
    if ruling is not None:
        print_facts("Its authority", _as_lines(ruling), as_json=False)


def _as_lines(ruling: dict[str, object]) -> dict[str, object]:
    """``ruling`` for people: a list in one line, nothing as a dash."""
    return {name: _line(value) for name, value in ruling.items() if not name.endswith("_levels")}


def _line(value: object) -> object:
    if isinstance(value, dict):
        return {name: _line(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else value


def _set(state: Path, condition: object, *, off: bool, as_json: bool) -> None:
    from quotehelper.platforms.simulated import events
    from quotehelper.platforms.simulated.settings import Condition, Subject

    change = events.relieve_level if off else events.change_level
    show(change(state, Subject.PLATFORM, Condition(condition)), as_json=as_json)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
