from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.doctor.quoting_mode import QuotingMode, SocketState, Workload, judge_quoting_mode

DCAP = "/usr/lib/x86_64-linux-gnu/libsgx_dcap_ql.so.1.22.100.3"
QUOTE_EX = "/usr/lib/x86_64-linux-gnu/libsgx_quote_ex.so.1"
HOSTING = "/usr/lib/x86_64-linux-gnu/libsgx_qe3_logic.so"
PROVISION = "/dev/sgx_provision"


def seen(
    *files: str,
    variable: str | None = None,
    devices: tuple[str, ...] = (),
    executable: str = "/app",
    socket: SocketState = SocketState.THERE,
) -> Workload:
    return Workload(executable, variable, frozenset(files), frozenset(devices), socket)


@pytest.mark.parametrize(
    ("workload", "mode"),
    [
        (seen(), QuotingMode.NEITHER),
        (seen("/lib/libc.so.6", variable="1"), QuotingMode.NEITHER),
        (seen(devices=("/dev/sgx_enclave",)), QuotingMode.NEITHER),
        (seen(DCAP, HOSTING), QuotingMode.IN_PROCESS),
        (seen(DCAP, HOSTING, devices=(PROVISION,)), QuotingMode.IN_PROCESS),
        (seen(HOSTING), QuotingMode.IN_PROCESS),
        (seen(devices=("/dev/sgx/provision",)), QuotingMode.IN_PROCESS),
        (seen(DCAP, HOSTING, variable="1"), QuotingMode.OUT_OF_PROCESS),
        (seen(DCAP, HOSTING, variable="0"), QuotingMode.OUT_OF_PROCESS),
        (seen(DCAP, HOSTING, variable=""), QuotingMode.OUT_OF_PROCESS),
        (seen(DCAP, QUOTE_EX, variable="1"), QuotingMode.OUT_OF_PROCESS),
        (seen(QUOTE_EX), QuotingMode.OUT_OF_PROCESS),
        (seen(executable="/usr/lib/gramine/sgx/loader"), QuotingMode.OUT_OF_PROCESS),
        (seen("/usr/lib/gramine/sgx/libpal.so"), QuotingMode.OUT_OF_PROCESS),
        (seen(executable="/usr/bin/ftxsgx-runner"), QuotingMode.OUT_OF_PROCESS),
        (seen(DCAP, QUOTE_EX), QuotingMode.BOTH),
        (seen(DCAP, variable="1", devices=(PROVISION,)), QuotingMode.BOTH),
        (seen(DCAP, "/opt/libsgx_qe3.signed.so.1", variable="1"), QuotingMode.BOTH),
        (seen(QUOTE_EX, HOSTING), QuotingMode.BOTH),
    ],
)
def test_what_is_seen_shows_the_mode(workload: Workload, mode: QuotingMode) -> None:
    assert judge_quoting_mode(workload).mode is mode


def test_evidence_names_what_shows_it() -> None:
    finding = judge_quoting_mode(seen(DCAP, variable="0", devices=(PROVISION,)))
    assert "libsgx_dcap_ql.so.1.22.100.3" in finding.out_of_process[0]
    assert PROVISION in finding.in_process[0]


@pytest.mark.parametrize(
    ("workload", "remedy"),
    [
        (seen(DCAP, QUOTE_EX), "Choose one"),
        (seen(DCAP, variable="1", socket=SocketState.MISSING), "mount the directory"),
        (seen(DCAP, variable="1", socket=SocketState.NO_SOCKET), "no socket"),
        (seen(DCAP), "set SGX_AESM_ADDR=1"),
        (seen(variable="1"), "will ask AESM"),
        (seen(), "look again"),
    ],
)
def test_each_fault_has_its_remedy(workload: Workload, remedy: str) -> None:
    assert remedy in judge_quoting_mode(workload).remedy


def test_nothing_is_to_be_done_where_all_is_well() -> None:
    assert judge_quoting_mode(seen(DCAP, variable="1")).remedy == ""


@given(st.sets(st.sampled_from([DCAP, QUOTE_EX, HOSTING, "/x", "libsgx", ""])), st.none() | st.text(), st.booleans())
def test_the_mode_and_its_evidence_agree(files: set[str], variable: str | None, held: bool) -> None:  # noqa: FBT001  hypothesis fills it in
    finding = judge_quoting_mode(seen(*files, variable=variable, devices=(PROVISION,) if held else ()))
    assert (finding.mode in {QuotingMode.OUT_OF_PROCESS, QuotingMode.BOTH}) == bool(finding.out_of_process)
    assert (finding.mode in {QuotingMode.IN_PROCESS, QuotingMode.BOTH}) == bool(finding.in_process)
