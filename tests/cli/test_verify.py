"""`quotehelper verify` over real quotes: what it prints, for machines and for people, and what it tells the shell."""

from __future__ import annotations

import base64
import json
import os
import pty
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from harness import DEADLINE_S, VECTORS, run_cli
from quote_cases import CASES, PRIVATE_ROOT, load_case
from quotehelper.cli.verdict import ADVICE
from quotehelper.cli.verify import command
from quotehelper.documents.collateral import encode_collateral
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Daemon

CURRENT, EXPIRED, DEBUG, OUT_OF_DATE = (
    *("v01-configandsw-processor-v3", "v02-expired-collateral"),
    *("v03-debug-enclave", "v24-outofdate-mobilecoin"),
)
STATUSES = {
    "SGX_QL_QV_RESULT_OK": "UpToDate",
    "SGX_QL_QV_RESULT_SW_HARDENING_NEEDED": "SWHardeningNeeded",
    "SGX_QL_QV_RESULT_CONFIG_AND_SW_HARDENING_NEEDED": "ConfigurationAndSWHardeningNeeded",
    "SGX_QL_QV_RESULT_OUT_OF_DATE": "OutOfDate",
}
"""What Intel's results among the cases say of the TCB."""
ANY = "insecure_any_enclave = true\n"


def options(case: str) -> list[str]:
    """Quote, bundle, time and roots of a case."""
    directory = VECTORS / "quotes" / case
    root = ["--insecure-root", str(directory / "trusted_root.pem")] if case == PRIVATE_ROOT else []
    return [str(directory / "quote.bin"), "--bundle", str(directory), "--at", load_case(case).at.isoformat(), *root]


def told(*arguments: str) -> dict[str, Any]:
    """The object that `verify --json` prints; in this process, which spares a start for each."""
    document = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).stdout)
    assert isinstance(document, dict)
    return document


def results(case: str) -> dict[str, Any]:
    """What other verifiers said of the case."""
    recorded = json.loads((VECTORS / "quotes" / case / "meta.json").read_text())["results"]
    assert isinstance(recorded, dict)
    return recorded


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy of the case `CURRENT` alone."""
    path = tmp_path / "policy.toml"
    path.write_text('mr_enclave = ["33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"]\n')
    return path


@pytest.mark.parametrize("case", CASES)
def test_with_intel_semantics_json_has_intels_verdict(case: str) -> None:
    result, _, expired = results(case)["intel QVL composed like sgx_qv_verify_quote"].partition(" + ")
    found = told(*options(case), "--intel-semantics")
    assert found["tcb_status"] == STATUSES[result]
    assert found["collateral_expired"] == bool(expired)
    assert found["accepted"] == (found["tcb_status"] != "OutOfDate")
    assert found["error"] is None


@pytest.mark.parametrize("case", CASES)
def test_with_strict_semantics_json_has_the_verdict_of_dcap_qvl(case: str) -> None:
    result = results(case)["dcap-qvl 0.7.0 (PyPI wheel)"]
    found = told(*options(case))
    if result.startswith("ERR"):
        assert found["accepted"] is False
        assert found["error"].keys() == {"step", "reason", "message"}
        assert found["error"]["step"] in {step.value for step in Step}
    else:
        status, advisories, *_ = result.split()
        assert found["tcb_status"] == status
        assert found["advisories"] == sorted(advisories.removeprefix("adv=").split(","))
        assert found["accepted"] == (status != "OutOfDate")


def test_of_a_genuine_quote_json_tells_whose_it_is() -> None:
    found = told(*options(CURRENT))
    report = json.loads(run_cli("show", options(CURRENT)[0], "--json").stdout)["body"]
    assert found["report"].items() <= report.items(), "under the names of show"
    assert found["root"] == "intel"
    assert found["let_pass"] == []


def test_expired_collateral_is_told_in_both_semantics() -> None:
    strict, intel = told(*options(EXPIRED)), told(*options(EXPIRED), "--intel-semantics")
    assert strict["error"]["reason"] == "expired"
    assert strict["collateral_expired"] is intel["collateral_expired"] is True
    assert intel["let_pass"] == ["pck_validity", "tcb_info_validity", "qe_identity_validity"]


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        (CURRENT, 0, "accepted: it is genuine. Anybody's enclave would be"),
        (OUT_OF_DATE, 1, "refused: it is genuine, but only a policy can accept OutOfDate"),
        (DEBUG, 1, "refused: it is not proven to be genuine"),
        (EXPIRED, 3, "can't tell: without valid collateral it must be refused"),
    ],
)
def test_exit_code_and_last_line_say_the_same(case: str, code: int, words: str) -> None:
    done = run_cli("verify", *options(case), check=False)
    assert done.returncode == code
    assert words in done.stdout.splitlines()[-1]
    assert done.stderr == ""


def test_every_step_of_a_genuine_quote_has_a_tick_and_its_sentence() -> None:
    lines = run_cli("verify", *options(CURRENT)).stdout.splitlines()[1 : len(Step) + 1]
    assert [line.rstrip().split(maxsplit=2) for line in lines] == [["✓", str(step.number), step.holds] for step in Step]


def test_the_step_that_does_not_hold_is_the_last_one_told() -> None:
    text = run_cli("verify", *options(EXPIRED), check=False).stdout
    assert " ✗ 8 pck_validity: The intermediate's revocation list was valid until" in text
    assert "The 17 further steps were not taken." in text
    assert "What to do: Fetch current collateral" in text


def test_a_step_that_was_let_pass_has_no_tick() -> None:
    lines = run_cli("verify", *options(EXPIRED), "--intel-semantics").stdout.splitlines()
    assert lines[8].split()[:7] == ["!", "8", "does", "not", "hold,", "let", "pass:"]
    assert lines[9].split()[:2] == ["✓", "9"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_of_the_output_will_do(encoding: str, tmp_path: Path) -> None:
    shutil.copy(options(CURRENT)[0], tmp_path / "quote-€.bin")
    done = subprocess.run(
        [sys.executable, "-m", "quotehelper", "verify", str(tmp_path / "quote-€.bin"), *options(CURRENT)[1:]],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    lines = done.stdout.decode(encoding).splitlines()
    assert lines[0].endswith("quote-€.bin" if encoding == "utf-8" else "quote-?.bin")
    assert lines[1].split()[:2] == ["✓" if encoding == "utf-8" else "+", "1"]


@pytest.mark.parametrize("status", TcbStatus)
def test_every_status_has_its_advice(status: TcbStatus) -> None:
    assert bool(ADVICE[status]) == (status is not TcbStatus.UP_TO_DATE)


def test_an_out_of_date_platform_is_told_to_be_updated() -> None:
    assert "What to do: Microcode, BIOS" in run_cli("verify", *options(OUT_OF_DATE), check=False).stdout


@pytest.mark.parametrize(
    "at",
    [
        *("1750377600", "1750377600.5", "2025-06-20", "20250620", "20250620T000000Z"),
        *("2025-06-20T00:00:00.25Z", "2025-06-20t00:00:00z", "2025-06-20 00:00:00", "2025-06-20T02:00:00+02:00"),
    ],
)
def test_a_time_may_be_written_in_several_ways(at: str) -> None:
    assert told(*options(CURRENT), "--at", at)["at"] == "2025-06-20T00:00:00Z"


def test_time_0_is_the_beginning_of_1970() -> None:
    refused = told(*options(CURRENT), "--at", "0")["error"]
    assert refused["reason"] == "not_yet_valid"
    assert "not yet at 1970-01-01T00:00:00Z" in refused["message"]


def test_whoever_named_a_root_is_not_told_to_name_one() -> None:
    other = ["--insecure-root", str(VECTORS / "quotes" / PRIVATE_ROOT / "trusted_root.pem")]
    untrusted = told(*options(CURRENT), *other)["error"]
    assert (untrusted["step"], untrusted["reason"]) == ("trusted_root", "untrusted")
    assert "Give the root of those who certified this platform" in untrusted["message"]


@pytest.mark.parametrize("field", ["root_ca_crl.der", "tcb_info.json", "qe_identity_issuer_chain.pem"])
def test_a_bundle_that_lacks_a_document_can_not_tell(field: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(VECTORS / "quotes" / CURRENT, bundle)
    (bundle / field).unlink()
    done = run_cli("verify", *options(CURRENT), "--bundle", str(bundle), "--json", check=False)
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["reason"] == "missing"


@pytest.mark.parametrize("member", ["root_ca_crl", "tcb_info", "qe_identity_issuer_chain"])
def test_a_bundle_in_one_file_that_lacks_a_member_can_not_tell_either(member: str, tmp_path: Path) -> None:
    document = json.loads(encode_collateral(load_case(CURRENT).collateral))
    del document[member]
    (tmp_path / "bundle.json").write_text(json.dumps(document))
    done = run_cli("verify", *options(CURRENT), "--bundle", str(tmp_path / "bundle.json"), "--json", check=False)
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["reason"] == "missing"


def test_a_bundle_may_be_one_file(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes(encode_collateral(load_case(CURRENT).collateral))
    assert told(*options(CURRENT), "--bundle", str(tmp_path / "bundle.json")) == told(*options(CURRENT))


@pytest.mark.parametrize("form", [bytes.hex, lambda raw: base64.encodebytes(raw).decode()], ids=["hex", "base64"])
def test_a_quote_may_be_text(form: Callable[[bytes], str], tmp_path: Path) -> None:
    (tmp_path / "quote.txt").write_text(form(load_case(CURRENT).quote) + "\n")
    assert told(str(tmp_path / "quote.txt"), *options(CURRENT)[1:])["accepted"] is True


def test_a_quote_may_come_by_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quotehelper", "verify", "-", *options(CURRENT)[1:], "--json"],
        input=load_case(CURRENT).quote,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["accepted"] is True


@pytest.mark.parametrize(
    "raw",
    [b"", b"\3\0\2\0" * 500, load_case(CURRENT).quote + bytes(9 << 20)],
    ids=["nothing", "noise", "a quote, and far too much behind it"],
)
def test_what_is_no_quote_is_refused_in_the_first_step(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(raw)
    done = run_cli("verify", str(tmp_path / "noise"), *options(CURRENT)[1:], "--json", check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["step"] == "quote_format"
    assert json.loads(done.stdout)["tcb_status"] is None


def test_a_policy_that_wants_the_quote_accepts_it(policy: Path) -> None:
    done = run_cli("verify", *options(CURRENT), "--policy", str(policy))
    assert done.stdout.splitlines()[-1] == "accepted: it is genuine, and what the policy wants"


def test_a_policy_may_be_yaml_by_its_name(policy: Path) -> None:
    in_yaml = policy.with_suffix(".yml")
    in_yaml.write_text(policy.read_text().replace(" = ", ": "))
    assert told(*options(CURRENT), "--policy", str(in_yaml))["accepted"] is True
    assert told(*options(DEBUG), "--policy", str(in_yaml))["accepted"] is False


def test_it_is_told_which_alternative_holds(policy: Path) -> None:
    policy.write_text(f'[[any_of]]\nmr_enclave = ["{"00" * 32}"]\n[[any_of]]\n{policy.read_text()}')
    assert told(*options(CURRENT), "--policy", str(policy))["alternatives"] == [1]
    text = run_cli("verify", *options(CURRENT), "--policy", str(policy)).stdout
    assert text.endswith("accepted: it is genuine, and what the policy wants (any_of[1])\n")


def test_a_policy_refuses_with_every_violation(policy: Path) -> None:
    done = run_cli("verify", *options(OUT_OF_DATE), "--policy", str(policy), "--json", check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert [violation["rule"] for violation in found["violations"]] == ["mr_enclave", "tcb_statuses"]
    assert found["accepted"] is False
    assert found["error"] is None
    text = run_cli("verify", *options(OUT_OF_DATE), "--policy", str(policy), check=False).stdout
    assert all(violation["problem"] in text for violation in found["violations"])


def test_a_policy_may_accept_what_would_not_be_without_one(policy: Path) -> None:
    policy.write_text(ANY + 'tcb_statuses = ["OutOfDate"]\n')
    assert told(*options(OUT_OF_DATE), "--policy", str(policy))["accepted"] is True


@pytest.mark.parametrize(("days", "code"), [(0, 3), (1, 0)])
def test_a_grace_is_given_by_the_policy(days: int, code: int, policy: Path) -> None:
    policy.write_text(ANY + f"collateral_grace_days = {days}\n")
    assert run_cli("verify", *options(EXPIRED), "--policy", str(policy), check=False).returncode == code


def test_past_the_grace_it_can_not_be_told(policy: Path) -> None:
    policy.write_text(ANY + "collateral_grace_days = 1\n")
    arguments = [*options(EXPIRED), "--at", "2025-07-21T00:00:00Z", "--policy", str(policy)]
    done = run_cli("verify", *arguments, "--json", check=False)
    assert done.returncode == 3
    assert json.loads(done.stdout)["violations"][0]["rule"] == "collateral_grace_days"


def test_a_debug_enclave_is_accepted_only_by_a_policy_that_says_so(policy: Path) -> None:
    policy.write_text(ANY)
    assert told(*options(DEBUG), "--policy", str(policy), "--intel-semantics")["violations"][0]["rule"] == "debug"
    policy.write_text(ANY + "insecure_allow_debug = true\n")
    found = told(*options(DEBUG), "--policy", str(policy))
    assert found["accepted"] is True
    assert found["let_pass"] == ["enclave_debug"]


def test_report_data_can_be_asked_for_without_a_policy_and_with_one(policy: Path) -> None:
    hello = b"Hello, world!"
    assert told(*options(CURRENT), "--report-data", hello.hex())["accepted"] is True
    for more in ([], ["--policy", str(policy)]):
        found = told(*options(CURRENT), "--report-data", hello[1:].hex(), *more)
        assert found["accepted"] is False
        assert [violation["rule"] for violation in found["violations"]] == ["report_data"]


def test_report_data_can_be_the_hash_of_a_file(tmp_path: Path) -> None:
    case, challenge = "v26-swhardening-oe-tcbv2", tmp_path / "challenge"
    challenge.write_bytes(b"")
    arguments = [*options(case), "--intel-semantics", "--report-data-sha256-of", str(challenge)]
    assert told(*arguments)["accepted"] is True
    challenge.write_bytes(b"\0")
    assert told(*arguments)["violations"][0]["rule"] == "report_data_sha256_of"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--at", "yesterday"], "2026-01-31T23:59:59Z"),
        (["--at", "0001-01-01T00:00:00+14:00"], "is no time"),
        (["--at", "9" * 30], "is no time"),
        (["--at", "1750377600."], "is no time"),
        (["--at", "2026"], "is no time"),
        (["--bundle", "/nowhere"], "does not exist"),
        (["--bundle", "EMPTY"], "none of the files of a bundle"),
        (["--bundle", "NOISE"], "QuoteCollateralV3"),
        (["--bundle", "OBJECT"], "an object with its members"),
        (["--policy", "NOISE"], "no UTF-8"),
        (["--policy", "WRONG"], "WRONG:2:1: unknown key 'mrenclave'"),
        (["--insecure-root", "NOISE"], "Give the PEM file"),
        (["--insecure-simulated-root", "INTEL"], "not the root of a simulated platform"),
        (["--insecure-simulated-root", "INTEL", "--insecure-root", "INTEL"], "exclude each other"),
        (["--report-data", "00" * 65], "at most 64"),
    ],
)
def test_a_mistake_is_exit_code_2_and_says_what_to_do(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "NOISE").write_bytes(b"\xff\xfe")
    (tmp_path / "OBJECT").write_text("{}")
    (tmp_path / "WRONG").write_text("# a policy\nmrenclave = []\n")
    shutil.copy(VECTORS / "quotes" / CURRENT / "trusted_root.pem", tmp_path / "INTEL")
    made = [str(tmp_path / word) if (tmp_path / word).exists() else word for word in arguments]
    failed = run_cli("verify", *options(CURRENT), *made, check=False)
    assert failed.returncode == 2
    assert words in " ".join(failed.stderr.split())
    assert failed.stdout == ""


def test_the_schema_of_policies_is_printed_without_anything_else_being_said() -> None:
    assert "mr_enclave" in json.loads(run_cli("verify", "--policy-schema").stdout)["properties"]


def test_a_simulated_quote_needs_the_simulated_root(state: Path, daemon: Daemon, tmp_path: Path) -> None:
    quote, collateral = tmp_path / "quote.bin", tmp_path / "collateral"
    run_cli(
        *("quote", "--socket", str(daemon.path), "--state", str(state), "--report-data", "c0ffee"), "--out", str(quote)
    )
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(collateral))
    for bundle in (collateral / "case", collateral / "collateral.json"):
        arguments = [str(quote), "--bundle", str(bundle)]
        untrusted = run_cli("verify", *arguments, check=False)
        assert untrusted.returncode == 1
        assert "--insecure-simulated-root" in untrusted.stdout
        found = told(*arguments, "--insecure-simulated-root", str(collateral / "root.pem"))
        assert found["accepted"] is True
        assert found["root"] == "simulated"
        assert found["tcb_status"] == "UpToDate"


QUOTES = [str(VECTORS / "quotes" / case / "quote.bin") for case in (CURRENT, DEBUG, OUT_OF_DATE)]


def test_many_quotes_are_an_object_a_line() -> None:
    done = run_cli("verify", *QUOTES, *options(CURRENT)[1:], "--json", check=False)
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["quote"] for document in documents] == QUOTES
    assert [document["accepted"] for document in documents] == [True, False, False]
    assert done.returncode == 1


def test_many_quotes_are_a_table_with_their_whole_names() -> None:
    text = run_cli("verify", *QUOTES, *options(CURRENT)[1:], check=False).stdout
    assert all(quote in text for quote in QUOTES)
    assert "enclave_debug: It is a debug enclave" in text
    assert text.splitlines()[-1] == "1 of 3 accepted"


def test_one_refused_weighs_more_than_one_that_can_not_be_told() -> None:
    arguments = [*QUOTES[:1], str(VECTORS / "quotes" / "tdx-v4.bin"), *options(EXPIRED)[1:]]
    assert run_cli("verify", *arguments, check=False).returncode == 1
    assert run_cli("verify", QUOTES[0], QUOTES[0], *options(EXPIRED)[1:], check=False).returncode == 3


@pytest.mark.parametrize("as_json", [False, True])
def test_somebody_who_watches_sees_a_bar_and_a_file_gets_only_the_result(as_json: bool, tmp_path: Path) -> None:  # noqa: FBT001
    watcher, terminal = pty.openpty()
    words = [sys.executable, "-m", "quotehelper", "verify", *QUOTES, *options(CURRENT)[1:], *["--json"] * as_json]
    with (tmp_path / "result").open("w") as result:
        done = subprocess.run(words, stdout=result, stderr=terminal, check=False, timeout=DEADLINE_S)
    os.close(terminal)
    seen = os.read(watcher, 65536).decode()
    os.close(watcher)
    text = (tmp_path / "result").read_text()
    assert done.returncode == 1
    assert "verifying" in seen
    assert "accepted" not in seen
    assert len(text.splitlines()) == (3 if as_json else 5)
    assert "\x1b" not in text
