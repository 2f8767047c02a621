"""Every verdict, produced from the command line, and given by two verifiers."""

from __future__ import annotations

import datetime as dt
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from evidence import APP, Case, is_status
from harness import VECTORS, run_cli
from quotehelper.cli.simulate import command
from quotehelper.cli.simulate_authority import COMMANDS
from quotehelper.documents.collateral import from_files
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.verification.semantics import INTEL, STRICT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UP = "UpToDate"
CONFIGURATION, HARDENING = ("configuration-needed",), ("hardening-needed",)
RECOVERY, UPDATE = ("tcb-recovery",), ("update-platform",)
QE_RELEASE, QE_UPDATE = ("qe-out-of-date",), ("update-qe", "--isv-svn", "12")


class User:
    """Somebody who tests attestation: commands on a platform, then a quote and fresh collateral, then verdicts."""

    def __init__(self, place: Path, ca: str) -> None:
        self.place = place
        self.state = place / "state"
        self.run("init", "--ca", ca)

    def run(self, *arguments: str) -> str:
        done = CliRunner().invoke(command, [*arguments, "--state", str(self.state)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def info(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.run("info", "--json"))
        return told

    def case(self) -> Case:
        at = dt.datetime.now(dt.UTC)
        enclave = load_cpu(self.state).load(EnclaveIdentity(b"\xe1" * 32, b"\x51" * 32, APP))
        platform = load(self.state)
        report = enclave.report(platform.target(QE3_KEY_ID).target_info, bytes(64))
        out = self.place / f"collateral-{len(list(self.place.iterdir()))}"
        self.run("export-collateral", "--out", str(out))
        files = {path.name: path.read_bytes() for path in (out / "case").iterdir()}
        at = max(at, dt.datetime.now(dt.UTC))
        return Case(platform.quote(report, QE3_KEY_ID).quote, from_files(files), files["trusted_root.pem"], at)


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path, "processor")


SCENARIOS: dict[str, tuple[list[tuple[str, ...]], str, str]] = {
    "nothing": ([], UP, UP),
    "configuration": ([CONFIGURATION], "ConfigurationNeeded", "ConfigurationNeeded"),
    "hardening": ([HARDENING], "SWHardeningNeeded", "SWHardeningNeeded"),
    "both": ([HARDENING, CONFIGURATION], *("ConfigurationAndSWHardeningNeeded",) * 2),
    "recovery": ([RECOVERY], "OutOfDate", "OutOfDate"),
    "recovery of what needed configuration": ([CONFIGURATION, RECOVERY], *("OutOfDateConfigurationNeeded",) * 2),
    "recovery and update": ([CONFIGURATION, RECOVERY, UPDATE], UP, UP),
    "withdrawal": ([(*RECOVERY, "--withdraw")], *("platform_tcb: unsupported",) * 2),
    "withdrawal and update": ([(*RECOVERY, "--withdraw"), UPDATE], UP, UP),
    "QE out of date": ([QE_RELEASE], "OutOfDate", "OutOfDate"),
    "QE out of date, configuration needed": ([QE_RELEASE, CONFIGURATION], *("OutOfDateConfigurationNeeded",) * 2),
    "QE updated": ([QE_RELEASE, QE_UPDATE], UP, UP),
    "QE too old": ([("update-qe", "--isv-svn", "5")], *("qe_tcb: unsupported",) * 2),
    "TCB revoked": ([("revoke", "tcb")], *("tcb_status: revoked",) * 2),
    "TCB revoked, recovery, update": ([("revoke", "tcb"), RECOVERY, UPDATE], UP, UP),
    "QE revoked": ([("revoke", "qe")], *("tcb_status: revoked",) * 2),
    "QE revoked, released, updated": ([("revoke", "qe"), QE_RELEASE, QE_UPDATE], UP, UP),
    "PCK revoked": ([("revoke", "pck")], *("pck_revocation: revoked",) * 2),
    "PCK revoked, certified anew": ([("revoke", "pck"), UPDATE], UP, UP),
    "intermediate revoked": ([("revoke", "intermediate")], *("pck_revocation: revoked",) * 2),
    "signer revoked": ([("revoke", "signer")], *("tcb_info_chain: revoked",) * 2),
    "all expired": ([("expire",)], UP, "pck_validity: expired"),
    "TCB info expired": ([("expire", "tcb-info")], UP, "tcb_info_validity: expired"),
    "QE identity expired": ([("expire", "qe-identity")], UP, "qe_identity_validity: expired"),
    "PCK CRL expired": ([("expire", "pck-crl")], UP, "pck_validity: expired"),
    "root CRL expired": ([("expire", "root-ca-crl")], UP, "pck_validity: expired"),
    "expired and renewed": ([("expire",), ("renew", "pck-crl", "root-ca-crl"), ("renew",)], UP, UP),
    "configuration done": ([CONFIGURATION, (*CONFIGURATION, "--off")], UP, UP),
    "everything, then reset": ([CONFIGURATION, RECOVERY, ("revoke", "signer"), ("expire",), ("reset",)], UP, UP),
}
"""Commands, Intel's verdict, the strict one."""


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_a_verdict_can_be_had(tmp_path: Path, name: str, ca: str) -> None:
    commands, intel, strict = SCENARIOS[name]
    user = User(tmp_path, ca)
    for arguments in commands:
        user.run(*arguments)
    case = user.case()
    assert (case.judge(INTEL), case.judge(STRICT)) == (intel, strict)
    theirs = case.judge_by_dcap_qvl()
    assert theirs == strict if is_status(strict) else not is_status(theirs)


def test_every_status_and_every_kind_of_revocation_is_among_the_scenarios() -> None:
    statuses = {intel for _, intel, _ in SCENARIOS.values() if is_status(intel)}
    page = (VECTORS.parents[1] / "docs" / "simulated-platform.md").read_text()
    assert statuses | {"Revoked"} == {
        *(UP, "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"),
        *("OutOfDate", "OutOfDateConfigurationNeeded", "Revoked"),
    }
    assert all(status in page for status in statuses)


def test_each_command_is_documented() -> None:
    page = (VECTORS.parents[1] / "docs" / "simulated-platform.md").read_text()
    assert all(f"simulate {each.name}" in page for each in COMMANDS)


def test_advisories_show_in_the_verdict(user: User) -> None:
    user.run("advisory", "INTEL-SA-00001", "INTEL-SA-00002")
    user.run("advisory", "INTEL-SA-00003", "--on", "qe")
    verified = user.case().verify()
    assert verified.status.value == UP
    assert verified.advisory_ids == ("INTEL-SA-00001", "INTEL-SA-00002", "INTEL-SA-00003")
    assert verified.supplemental.sa_list == ("INTEL-SA-00001", "INTEL-SA-00002")


def test_a_recoverys_advisories_show_until_the_platform_is_updated(user: User) -> None:
    user.run(*RECOVERY, "--advisory", "INTEL-SA-1", "--advisory", "INTEL-SA-2")
    assert user.case().verify().advisory_ids == ("INTEL-SA-1", "INTEL-SA-2")
    user.run(*UPDATE)
    assert user.case().verify().advisory_ids == ()


def test_expired_collateral_is_a_flag_for_intel(user: User) -> None:
    user.run("expire", "tcb-info")
    assert user.case().verify(INTEL).collateral_expired


def test_a_recovery_raises_the_evaluation_number(user: User) -> None:
    before = user.case().verify().supplemental.tcb_evaluation_data_number
    user.run(*RECOVERY)
    assert user.case().verify().supplemental.tcb_evaluation_data_number == before + 1


def test_info_foretells_the_status(user: User) -> None:
    for arguments, status in (
        (CONFIGURATION, "ConfigurationNeeded"),
        (QE_RELEASE, "OutOfDateConfigurationNeeded"),
        (("revoke", "qe"), "Revoked"),
        ((*RECOVERY, "--withdraw"), None),
        (("reset",), UP),
    ):
        user.run(*arguments)
        assert user.info()["authority_says"]["tcb_status"] == status


def test_info_tells_the_settings(user: User) -> None:
    user.run("advisory", "INTEL-SA-00001")
    user.run("revoke", "signer")
    user.run("expire", "pck-crl")
    told = user.info()["authority_says"]
    assert told["platform_level"]["advisories"] == ["INTEL-SA-00001"]
    assert told["expired"] == ["pck-crl"]
    assert told["revoked"][0].endswith(" by root")
    shown = user.run("info")
    assert "INTEL-SA-00001" in shown
    assert "pck-crl" in shown


def test_info_without_the_authority_still_tells_the_platform(user: User, tmp_path: Path) -> None:
    (user.state / "authority").rename(tmp_path / "away")
    assert user.info()["authority_says"] is None
    assert user.info()["ca"] == "processor"
    assert "authority_says" in user.run("info")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tcb-recovery", "--advisory", "a b"], "is not an advisory's name"),
        (["expire", "everything"], "is not one of"),
        (["revoke", "root"], "is not one of"),
    ],
)
def test_a_mistake_is_a_sentence_and_changes_nothing(user: User, arguments: list[str], told: str) -> None:
    before = user.info()
    failed = run_cli("simulate", *arguments, "--state", str(user.state), check=False)
    assert failed.returncode == 2
    assert told in failed.stderr
    assert user.info() == before


def test_a_running_daemon_takes_an_update_at_sighup(
    user: User, start_daemon: Callable[..., Any], tmp_path: Path
) -> None:
    """And quotes at the new level, on the same socket."""
    daemon = start_daemon(state=user.state)
    user.run(*RECOVERY)
    user.run(*UPDATE)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(r"(?i)reload")
    quote = tmp_path / "quote.bin"
    run_cli(
        *("quote", "--socket", str(daemon.path), "--state", str(user.state)),
        *("--report-data", "c0ffee", "--out", str(quote)),
    )
    case = user.case()._replace(quote=quote.read_bytes())
    assert case.judge() == case.judge_by_dcap_qvl() == UP
