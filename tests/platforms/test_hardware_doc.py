"""docs/hardware.md says what the code does with each code of Intel's library, and which causes have which words."""

from __future__ import annotations

from pathlib import Path

from quotehelper.aesm import messages as m
from quotehelper.aesm.client_libraries import dcap_ql_error, intel_client_status
from quotehelper.aesm.status import name_status
from quotehelper.node.service import STATUS_OF_CAUSE
from quotehelper.platforms.dcap.faults import FAULTS, Fault
from quotehelper.platforms.upstream import KEYS_KEPT_S, SIZE_KEPT_S, TIMEOUT_S
from quotehelper.sgx.quote3_error import Quote3Error

DOCUMENT = (Path(__file__).parents[2] / "docs/hardware.md").read_text()


def seen(call: type[m.Request], status: int) -> str:
    """What an application gets from libsgx_quote_ex, and from libsgx_dcap_ql on top of it."""
    sgx = intel_client_status(call, status)
    return f"0x{sgx:04X} / 0x{dcap_ql_error(sgx):04X}"


def row(fault: Fault) -> str:
    """One row: the codes of a fault, its cause, the status, what applications see, the remedy."""
    codes = ", ".join(f"0x{code:04X} {Quote3Error(code).name}" for code, of in FAULTS.items() if of == fault)
    status = STATUS_OF_CAUSE[fault.cause]
    cells = (
        codes,
        f"`{fault.cause.name}`",
        name_status(status),
        seen(m.InitQuoteExRequest, status),
        seen(m.GetQuoteExRequest, status),
        fault.remedy,
    )
    return f"| {' | '.join(cells)} |"


def test_every_code_stands_in_the_table_as_it_is_handled() -> None:
    table = DOCUMENT.split("| codes |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    assert table == [row(fault) for fault in dict.fromkeys(FAULTS.values())]


def test_the_times_of_upstream_are_those_of_the_code() -> None:
    assert f"within {TIMEOUT_S:g} s" in DOCUMENT
    assert f"kept for {KEYS_KEPT_S:g} s" in DOCUMENT
    assert f"kept for {SIZE_KEPT_S:g} s" in DOCUMENT
