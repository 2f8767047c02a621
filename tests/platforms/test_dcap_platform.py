"""Intel's library as a platform, on its test double: what goes wrong has its cause, and comes right again."""

from __future__ import annotations

import datetime as dt
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import run_cli
from quotehelper.aesm import messages
from quotehelper.documents.collateral import from_files
from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.node.config import Limits
from quotehelper.node.service import STATUS_OF_CAUSE, Service
from quotehelper.platforms.dcap.faults import FAULTS, fault_of
from quotehelper.platforms.dcap.faults import failure as call_failure
from quotehelper.platforms.dcap.files import DcapFiles
from quotehelper.platforms.dcap.platform import DcapPlatform
from quotehelper.platforms.hardware import likely_reason
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo
from quotehelper.sgx.quote import CertificationData, CertificationType, read_quote
from quotehelper.sgx.quote3_error import Quote3Error
from quotehelper.sgx.report import AttributeFlags, Attributes, Report, TargetInfo
from quotehelper.verification.roots import Roots
from quotehelper.verification.verify import Verifier
from simulated_enclaves import SimulatedEnclaves

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcap_libraries import DcapLibraries
    from harness import WrittenLog
    from quotehelper.platforms.simulated.cpu import Enclave

KEY = QE3_KEY_ID


@pytest.fixture
def files(dcap_libraries: DcapLibraries) -> DcapFiles:
    return DcapFiles(str(dcap_libraries.quoting), provider=str(dcap_libraries.intel_provider))


@pytest.fixture
def platform(files: DcapFiles, simulated_enclaves: SimulatedEnclaves, log: WrittenLog) -> DcapPlatform:
    del simulated_enclaves  # they must be there
    return DcapPlatform(files, log)


@pytest.fixture
def app(simulated_enclaves: SimulatedEnclaves) -> Enclave:
    attributes = Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=7)
    return simulated_enclaves.cpu.load(EnclaveIdentity(b"\xa1" * 32, b"\xa2" * 32, attributes))


def report(platform: DcapPlatform, app: Enclave) -> Report:
    return app.report(platform.target(KEY).target_info, bytes(64))


def failure(call: Callable[[], object]) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        call()
    return caught.value


def engage(directory: Path, qe_svn: int) -> Path:
    """A directory of signed enclaves; the quoting enclave's file says its version."""
    directory.mkdir()
    for name in ("libsgx_qe3.signed.so.1", "libsgx_pce.signed.so.1", "libsgx_id_enclave.signed.so.1"):
        (directory / name).write_text(str(qe_svn))
    return directory


# Quotes


def test_its_quotes_are_proven_by_the_authority_of_the_platform(
    platform: DcapPlatform, app: Enclave, state: Path, tmp_path: Path
) -> None:
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(tmp_path / "collateral"))
    files = {file.name: file.read_bytes() for file in (tmp_path / "collateral/case").iterdir()}
    roots = Roots.insecure_simulated((tmp_path / "collateral/root.pem").read_bytes())
    quote = platform.quote(report(platform, app), KEY).quote
    verified = Verifier(from_files(files), roots=roots).verify(quote, at=dt.datetime.now(dt.UTC))
    assert verified.quote.body.raw[64:96] == b"\xa1" * 32


def test_the_policy_is_persistent_and_set_before_the_first_use(
    platform: DcapPlatform, simulated_enclaves: SimulatedEnclaves
) -> None:
    platform.target(KEY)
    assert simulated_enclaves.calls.index("policy") < simulated_enclaves.calls.index("init")


def test_it_asks_no_daemon_whatever_the_environment_says(
    platform: DcapPlatform, app: Enclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGX_AESM_ADDR", "1")
    assert platform.quote(report(platform, app), KEY).quote
    assert "SGX_AESM_ADDR" not in os.environ


def test_closing_lets_go_of_the_enclaves(platform: DcapPlatform, simulated_enclaves: SimulatedEnclaves) -> None:
    platform.target(KEY)
    platform.close()
    assert simulated_enclaves.calls[-1] == "clean_up"


def test_other_threads_run_while_the_library_works(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    made = report(platform, app)
    gate = simulated_enclaves.hold("quote")
    quotes: list[bytes] = []
    worker = threading.Thread(target=lambda: quotes.append(platform.quote(made, KEY).quote))
    worker.start()
    simulated_enclaves.wait_for("quote")
    assert not quotes
    gate.set()
    worker.join()
    assert read_quote(quotes[0]).body == made.body


# Enclaves and libraries of several versions


def test_two_versions_of_the_quoting_enclave_stand_side_by_side(
    files: DcapFiles, simulated_enclaves: SimulatedEnclaves, log: WrittenLog, tmp_path: Path, state: Path
) -> None:
    del state
    directory = engage(tmp_path / "new", 12)
    engage(tmp_path / "old", 10)
    platform = DcapPlatform(files._replace(enclaves=str(directory)), log)
    newer = platform.target(KEY)
    assert simulated_enclaves.paths_set == [
        str(files.provider),
        *(str(directory / f"libsgx_{name}.signed.so.1") for name in ("qe3", "pce", "id_enclave")),
    ]
    assert newer.target_info.mr_enclave != simulated_enclaves.quoting_enclave(10).target_info.mr_enclave
    assert newer.target_info == simulated_enclaves.quoting_enclave(12).target_info


def test_an_enclave_that_is_not_there_is_named_and_found_when_it_is(
    files: DcapFiles, simulated_enclaves: SimulatedEnclaves, log: WrittenLog, tmp_path: Path
) -> None:
    del simulated_enclaves
    directory = engage(tmp_path / "enclaves", 11)
    (directory / "libsgx_qe3.signed.so.1").rename(directory / "elsewhere")
    platform = DcapPlatform(files._replace(enclaves=str(directory)), log)
    error = failure(lambda: platform.target(KEY))
    assert error.cause is PlatformCause.ENCLAVE_LOAD
    assert f"no libsgx_qe3.signed.so.1 in {directory}" in error.detail
    assert "libsgx-ae-qe3" in error.detail
    (directory / "elsewhere").rename(directory / "libsgx_qe3.signed.so.1")
    assert platform.target(KEY)


def test_a_library_that_is_not_there_is_named_and_found_when_it_is(
    dcap_libraries: DcapLibraries, simulated_enclaves: SimulatedEnclaves, log: WrittenLog, tmp_path: Path
) -> None:
    del simulated_enclaves
    late = tmp_path / "libsgx_dcap_ql.so.1"
    platform = DcapPlatform(DcapFiles(str(late), provider=str(dcap_libraries.intel_provider)), log)
    assert platform.attestation_keys() == (QE3_KEY_ID,)
    error = failure(lambda: platform.target(KEY))
    assert error.cause is PlatformCause.UNAVAILABLE
    assert str(late) in error.detail
    assert "Install libsgx-dcap-ql" in error.detail
    late.symlink_to(dcap_libraries.quoting)
    assert platform.target(KEY)


def test_another_library_is_refused(dcap_libraries: DcapLibraries, log: WrittenLog) -> None:
    error = failure(lambda: DcapPlatform(DcapFiles(str(dcap_libraries.silent_provider)), log).target(KEY))
    assert error.cause is PlatformCause.INTERFACE
    assert "it is not libsgx_dcap_ql" in error.detail


def test_without_the_logic_library_the_key_s_id_is_learnt_from_a_quote(
    files: DcapFiles,
    dcap_libraries: DcapLibraries,
    app: Enclave,
    log: WrittenLog,
) -> None:
    platform = DcapPlatform(files._replace(library=str(dcap_libraries.alone)), log)
    assert platform.attestation_keys() == (QE3_KEY_ID,)
    assert platform.target(KEY).public_key_id == bytes(32)
    quote = read_quote(platform.quote(report(platform, app), KEY).quote)
    assert platform.target(KEY).public_key_id == quote.qe_report.report_data[:32]


def test_without_the_logic_library_no_qe_report_is_made_and_the_remedy_told(
    files: DcapFiles, dcap_libraries: DcapLibraries, app: Enclave, log: WrittenLog
) -> None:
    platform = DcapPlatform(files._replace(library=str(dcap_libraries.alone)), log)
    info = QeReportInfo.build(app_enclave_target_info=app.target)
    error = failure(lambda: platform.quote(report(platform, app), KEY, info))
    assert error.cause is PlatformCause.UNABLE_TO_MAKE_QE_REPORT
    assert "Install a current release of libsgx-dcap-ql and libsgx-qe3-logic" in error.detail


# Certificates


def test_quotes_without_a_certificate_are_refused_from_the_start_without_a_provider(
    files: DcapFiles, simulated_enclaves: SimulatedEnclaves, app: Enclave, log: WrittenLog
) -> None:
    platform = DcapPlatform(files._replace(provider=None), log)
    target = simulated_enclaves.quoting_enclave(11, certified=False).target_info
    for call in (
        lambda: platform.target(KEY),
        lambda: platform.quote_size(KEY),
        lambda: platform.quote(app.report(target, bytes(64)), KEY),
    ):
        error = failure(call)
        assert error.cause is PlatformCause.NO_CERTIFICATE
        assert "certification type 3" in error.detail
        assert "Install libsgx-dcap-default-qpl, or az-dcap-client on Azure" in error.detail
    assert len(log.events("no quote provider")) == 1


def test_a_provider_without_a_certificate_is_named(
    platform: DcapPlatform, simulated_enclaves: SimulatedEnclaves
) -> None:
    simulated_enclaves.fail("config", Quote3Error.NO_PLATFORM_CERT_DATA)
    error = failure(lambda: platform.target(KEY))
    assert error.cause is PlatformCause.NO_CERTIFICATE
    assert "Intel's default provider delivered no certificate" in error.detail
    assert platform.target(KEY)


def test_a_type_3_quote_of_an_unusual_size_is_found_out_too(
    files: DcapFiles, state: Path, tmp_path: Path, log: WrittenLog, monkeypatch: pytest.MonkeyPatch, app: Enclave
) -> None:
    odd = CertificationData(CertificationType.PPID_RSA_3072, bytes(500))
    with SimulatedEnclaves(state, tmp_path / "odd.socket", certification=odd) as enclaves:
        monkeypatch.setenv("QUOTEHELPER_TEST_ENCLAVES", str(enclaves.path))
        platform = DcapPlatform(files, log)
        assert failure(lambda: platform.quote(report(platform, app), KEY)).cause is PlatformCause.NO_CERTIFICATE


def test_a_provider_that_is_not_there_is_named(files: DcapFiles, log: WrittenLog, tmp_path: Path) -> None:
    error = failure(lambda: DcapPlatform(files._replace(provider=str(tmp_path / "none.so")), log).target(KEY))
    assert error.cause is PlatformCause.FILE_ACCESS
    assert "none.so is not there. Correct --dcap-provider" in error.detail


# Keys that have to be made anew


def test_a_tcb_update_that_leaves_the_quoting_enclave_is_not_noticed_by_clients(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves, log: WrittenLog
) -> None:
    made = report(platform, app)
    simulated_enclaves.change_tcb()
    assert read_quote(platform.quote(made, KEY).quote).body == made.body
    assert len(log.events("attestation key renewed")) == 1
    assert not log.events("quoting enclave replaced")


def test_a_size_asked_for_after_a_tcb_update_is_answered(
    platform: DcapPlatform, simulated_enclaves: SimulatedEnclaves
) -> None:
    platform.target(KEY)
    simulated_enclaves.change_tcb()
    assert platform.quote_size(KEY) > 1456


def test_another_quoting_enclave_is_told_to_clients_as_a_key_that_is_not_ready(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    made = report(platform, app)
    simulated_enclaves.change_tcb(qe_svn=12)
    assert failure(lambda: platform.quote(made, KEY)).cause is PlatformCause.KEY_NOT_INITIALIZED
    assert platform.quote(report(platform, app), KEY).quote


def test_every_client_with_a_report_for_the_former_quoting_enclave_is_told_to_ask_anew(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves, log: WrittenLog
) -> None:
    made = report(platform, app)
    simulated_enclaves.change_tcb(qe_svn=12)
    for _ in range(3):
        assert failure(lambda: platform.quote(made, KEY)).cause is PlatformCause.KEY_NOT_INITIALIZED
    simulated_enclaves.change_tcb()
    platform.target(KEY)
    assert failure(lambda: platform.quote(made, KEY)).cause is PlatformCause.KEY_NOT_INITIALIZED
    assert len(log.events("quoting enclave replaced")) == 1


def test_a_report_that_is_invalid_stays_so_while_the_quoting_enclave_is_the_same(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    made = report(platform, app)
    simulated_enclaves.change_tcb()
    assert platform.quote(made, KEY).quote
    assert failure(lambda: platform.quote(Report(bytes(432)), KEY)).cause is PlatformCause.INVALID_REPORT


def test_a_key_that_stays_away_is_told_after_one_attempt(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    made = report(platform, app)
    simulated_enclaves.fail_for_good("quote", Quote3Error.ATT_KEY_NOT_INITIALIZED)
    calls = simulated_enclaves.calls
    before = calls.count("init")
    assert failure(lambda: platform.quote(made, KEY)).cause is PlatformCause.KEY_NOT_INITIALIZED
    assert calls.count("init") == before + 1


def test_the_first_request_needs_no_init_of_a_client_s(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    target = simulated_enclaves.quoting_enclave(11).target_info
    assert platform.quote(app.report(target, bytes(64)), KEY).quote


@pytest.mark.parametrize("call", ["init", "size", "quote"])
def test_an_enclave_lost_once_is_loaded_again(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves, call: str
) -> None:
    made = report(platform, app)
    simulated_enclaves.fail(call, Quote3Error.ENCLAVE_LOST)
    assert platform.target(KEY)
    assert platform.quote(made, KEY).quote


# Faults


@pytest.mark.parametrize("code", [*FAULTS, 0xE0FE, 0x12345678], ids=hex)
def test_every_code_has_its_cause_and_remedy_wherever_it_comes_from(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves, code: int
) -> None:
    made = report(platform, app)
    asked: dict[str, Callable[[], object]] = {
        "init": lambda: platform.target(KEY),
        "size": lambda: platform.quote_size(KEY),
        "quote": lambda: platform.quote(made, KEY),
    }
    for call, ask in asked.items():
        simulated_enclaves.fail_for_good(call, code)
        error = failure(ask)
        assert error.cause is fault_of(code).cause
        assert fault_of(code).remedy in error.detail
        assert f"0x{code:04X}" in error.detail
        simulated_enclaves.mend()
    assert platform.quote(made, KEY).quote


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        ("init", Quote3Error.OUT_OF_EPC, 29),
        ("init", Quote3Error.ENCLAVE_LOAD_ERROR, 48),
        ("init", Quote3Error.ERROR_INVALID_PRIVILEGE, 48),
        ("init", Quote3Error.NO_DEVICE, 2),
        ("quote", Quote3Error.ENCLAVE_LOST, 46),
        ("config", Quote3Error.NETWORK_ERROR, 12),
        ("config", Quote3Error.PLATFORM_UNKNOWN, 44),
        ("config", Quote3Error.CERTS_UNAVAILABLE, 44),
        ("config", Quote3Error.ATT_KEY_CERT_DATA_INVALID, 43),
        ("config", Quote3Error.NO_PLATFORM_CERT_DATA, 44),
        ("config", Quote3Error.UNKNOWN_MESSAGE_RESPONSE, 22),
    ],
)
def test_the_client_gets_the_best_status_and_the_log_the_reason(  # noqa: PLR0913  parts and parameters
    platform: DcapPlatform,
    app: Enclave,
    simulated_enclaves: SimulatedEnclaves,
    log: WrittenLog,
    call: str,
    code: Quote3Error,
    status: int,
) -> None:
    service = Service(platform, Limits(), log)
    init = messages.InitQuoteExRequest(att_key_id=KEY.raw, b_pub_key_id=True, buf_size=32)
    made = report(platform, app) if call == "quote" else None
    simulated_enclaves.fail_for_good(call, code)
    if made is None:
        answer: Any = messages.decode_response(service.answer(init)[4:], messages.InitQuoteExResponse)
    else:
        request = messages.GetQuoteExRequest(report=made.raw, att_key_id=KEY.raw, buf_size=8192)
        answer = messages.decode_response(service.answer(request)[4:], messages.GetQuoteExResponse)
    assert answer.error_code == status
    refused = log.events("request refused")[-1]
    assert refused["status"].startswith(f"{status} ")
    assert code.name in refused["reason"] or "certification type 3" in refused["reason"]


def test_every_code_is_in_the_table_and_every_cause_has_a_status() -> None:
    assert set(FAULTS) == set(Quote3Error) - {Quote3Error.SUCCESS}
    assert {fault.cause for fault in FAULTS.values()} <= set(STATUS_OF_CAUSE)


def test_what_is_no_quote_is_not_passed_on(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    made = report(platform, app)
    simulated_enclaves.answer("quote", b"\xff" * 5000)
    error = failure(lambda: platform.quote(made, KEY))
    assert error.cause is PlatformCause.FAILED
    assert "no quote" in error.detail


def test_what_follows_the_quote_in_its_buffer_is_cut_off(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    made = report(platform, app)
    exact = platform.quote_size(KEY)
    simulated_enclaves.answer("size", (exact + 50).to_bytes(4, "little"))
    assert len(platform.quote(made, KEY).quote) == exact


@given(raw=st.binary(max_size=2000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_bytes_in_place_of_a_quote_give_a_deliberate_error(
    platform: DcapPlatform, app: Enclave, simulated_enclaves: SimulatedEnclaves, raw: bytes
) -> None:
    made = report(platform, app)
    simulated_enclaves.answer("quote", raw or b"\0")
    assert failure(lambda: platform.quote(made, KEY)).cause is PlatformCause.FAILED


@pytest.mark.parametrize("size", [0, (1 << 20) + 1, 0xFFFFFFFF])
def test_an_absurd_size_is_not_believed(
    platform: DcapPlatform, simulated_enclaves: SimulatedEnclaves, size: int
) -> None:
    simulated_enclaves.answer("size", size.to_bytes(4, "little"))
    assert failure(lambda: platform.quote_size(KEY)).cause is PlatformCause.FAILED


def test_a_failure_to_load_says_what_the_machine_lacks(
    platform: DcapPlatform, simulated_enclaves: SimulatedEnclaves
) -> None:
    simulated_enclaves.fail("init", Quote3Error.ENCLAVE_LOAD_ERROR)
    assert likely_reason() in failure(lambda: platform.target(KEY)).detail


def test_the_circumstance_stands_between_the_code_and_the_remedy() -> None:
    detail = call_failure("sgx_ql_init_quote", 0xE016, "/dev/sgx_enclave is not there").detail
    start = "sgx_ql_init_quote returned 0xE016 SGX_QL_ENCLAVE_LOAD_ERROR (/dev/sgx_enclave is not there). Install"
    assert detail.startswith(start)


def test_a_target_info_of_another_kind_does_no_harm(platform: DcapPlatform, app: Enclave) -> None:
    made = report(platform, app)
    odd = QeReportInfo.build(app_enclave_target_info=TargetInfo(b"\xff" * 512))
    assert failure(lambda: platform.quote(made, KEY, odd)).cause is PlatformCause.UNABLE_TO_MAKE_QE_REPORT
