"""Checks of what each known client family does, from its first request to its quote. Pure: `clients` speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.conformance import clients as c
from quotehelper.conformance.check import Check, Family

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.conformance.examined import Examined

_RETRY = "See the checks of every client: what fails there is the cause; the daemon's log has the reason"


def _silently(speak: Callable[[Examined], object]) -> Callable[[Examined], None]:
    """What ``speak`` does, without its result."""

    def run(examined: Examined) -> None:
        speak(examined)

    return run


def _check(  # noqa: PLR0913  one argument a field
    check_id: str,
    title: str,
    source: str,
    family: Family,
    consequence: str,
    run: Callable[[Examined], object],
    *,
    needs_report: bool = False,
) -> Check:
    return Check(
        check_id, title, source, family, consequence, _RETRY, _silently(run), needs_report=needs_report, quick=True
    )


CHECKS = (
    _check(
        "quote-ex.keys",
        "It counts, lists and selects keys",
        "aesm 6.1",
        Family.QUOTE_EX,
        "sgx_select_att_key_id fails: the application knows no key to ask for",
        c.quote_ex_chooses_key,
    ),
    _check(
        "quote-ex.prepare",
        "It gets target info and size",
        "aesm 6.1",
        Family.QUOTE_EX,
        "sgx_init_quote_ex or sgx_get_quote_size_ex fails",
        c.quote_ex_prepares,
    ),
    _check(
        "quote-ex.quote",
        "It gets a quote that verifies",
        "aesm 6.1",
        Family.QUOTE_EX,
        "sgx_get_quote_ex fails",
        c.prepare_and_quote(c.quote_ex_prepares, c.quote_ex_quotes),
        needs_report=True,
    ),
    _check(
        "quote-ex.nonce",
        "It gets a quote with the QE's report over its nonce",
        "aesm 6.1",
        Family.QUOTE_EX,
        "The application's enclave refuses the quote",
        c.prepare_and_quote(c.quote_ex_prepares, c.quote_ex_quotes_with_nonce),
        needs_report=True,
    ),
    _check(
        "quote-ex.bad-mac",
        "It learns that a report's MAC does not hold",
        "aesm 3.2, 6.1",
        Family.QUOTE_EX,
        "The application is told another reason, and tries in vain",
        c.quote_ex_reports_bad_mac,
    ),
    _check(
        "dcap-ql.prepare",
        "It gets target info and size, with stack garbage for a buffer size",
        "aesm 6.2",
        Family.DCAP_QL,
        "sgx_qe_get_target_info fails with 0xE001, with SGX_AESM_ADDR set",
        c.dcap_ql_prepares,
    ),
    _check(
        "dcap-ql.quote",
        "It gets a quote that verifies",
        "aesm 6.2",
        Family.DCAP_QL,
        "sgx_qe_get_quote fails, with SGX_AESM_ADDR set",
        c.prepare_and_quote(c.dcap_ql_prepares, c.quote_ex_quotes),
        needs_report=True,
    ),
    _check(
        "open-enclave.keys",
        "It finds an ECDSA key",
        "aesm 6.5",
        Family.OPEN_ENCLAVE,
        "Every attestation of that process fails, as it remembers the failure",
        c.open_enclave_chooses_key,
    ),
    _check(
        "open-enclave.prepare",
        "It gets target info, and the same size twice",
        "aesm 6.5",
        Family.OPEN_ENCLAVE,
        "oe_get_evidence fails with OE_SGX_QUOTE_LIBRARY_ERROR",
        c.open_enclave_prepares,
    ),
    _check(
        "open-enclave.quote",
        "It gets a quote that ends where its buffer ends",
        "aesm 0.6, 6.5",
        Family.OPEN_ENCLAVE,
        "oe_get_evidence fails, or its verifier refuses the evidence",
        c.prepare_and_quote(c.open_enclave_prepares, c.open_enclave_quotes),
        needs_report=True,
    ),
    _check(
        "ukey-exchange.prepare",
        "Its key is selected from a list, and it gets target info and size (sgx_ra_get_msg1_ex)",
        "aesm 6.2",
        Family.UKEY_EXCHANGE,
        "The key exchange of the SDK does not begin",
        c.ukey_exchange_prepares,
    ),
    _check(
        "ukey-exchange.quote",
        "It gets a quote whose QE report is over nonce and buffer (sgx_ra_proc_msg2_ex)",
        "aesm 0.6, 6.2",
        Family.UKEY_EXCHANGE,
        "sgx_ra_get_msg3 refuses the quote within the enclave",
        c.prepare_and_quote(c.ukey_exchange_prepares, c.ukey_exchange_quotes),
        needs_report=True,
    ),
    _check(
        "fortanix.probe",
        "It connects, leaves, and then finds the keys",
        "aesm 6.3",
        Family.FORTANIX,
        "sgx-detect and the runner take the daemon for absent",
        c.fortanix_probes,
    ),
    _check(
        "fortanix.launch",
        "Its question for a launch token is answered at once",
        "aesm 6.3",
        Family.FORTANIX,
        "Every enclave start takes 30 s",
        c.fortanix_launches,
    ),
    _check(
        "fortanix.prepare",
        "It gets an ECDSA key, target info and size, one write a request",
        "aesm 6.3",
        Family.FORTANIX,
        "The enclave gets no quote; its init without a timeout may wait for ever",
        c.fortanix_prepares,
    ),
    _check(
        "fortanix.quote",
        "It gets a quote and the QE's report",
        "aesm 6.3",
        Family.FORTANIX,
        "The runner panics if the QE's report is missing or short",
        c.prepare_and_quote(c.fortanix_prepares, c.fortanix_quotes),
        needs_report=True,
    ),
    Check(
        "gramine.abstract-name",
        "The abstract name that it tries first leads to no other daemon",
        "aesm 1.1, 6.4, 8.18",
        Family.GRAMINE,
        "Whoever has the name gets its reports, and answers in the daemon's place",
        "End the process that has the name, and let the daemon bind it (--abstract-socket)",
        c.gramine_finds_daemon,
    ),
    _check(
        "gramine.start",
        "It gets target info at its start, without a timeout field",
        "aesm 6.4",
        Family.GRAMINE,
        "The application does not start",
        c.gramine_starts,
    ),
    _check(
        "gramine.quote",
        "It gets a quote within its 8192 bytes",
        "aesm 6.4",
        Family.GRAMINE,
        "Reading /dev/attestation/quote fails",
        c.gramine_quotes,
        needs_report=True,
    ),
    _check(
        "occlum.prepare",
        "It gets target info and size once for its life",
        "aesm 6.6",
        Family.OCCLUM,
        "The process has no attestation until it is started again",
        c.occlum_prepares,
    ),
    _check(
        "occlum.quote",
        "It gets several quotes by the target info and size of its beginning",
        "aesm 6.6",
        Family.OCCLUM,
        "A process that has run for some time gets no quotes any more",
        c.prepare_and_quote(c.occlum_prepares, c.occlum_quotes),
        needs_report=True,
    ),
    _check(
        "enarx.prepare",
        "It gets keys before each step, target info and size",
        "aesm 6.8",
        Family.ENARX,
        "The keep gets no attestation",
        c.enarx_prepares,
    ),
    _check(
        "enarx.quote",
        "It gets a quote of exactly the size told",
        "aesm 0.5, 6.8",
        Family.ENARX,
        "The keep gets no attestation: it refuses a quote of another length",
        c.prepare_and_quote(c.enarx_prepares, c.enarx_quotes),
        needs_report=True,
    ),
    _check(
        "rune.prepare",
        "It lets the daemon select, gets target info and size, each body in one read",
        "aesm 1.4, 6.8",
        Family.RUNE,
        "The container gets no attestation",
        c.rune_prepares,
    ),
    _check(
        "rune.quote",
        "It gets a quote of exactly the size told, in one read",
        "aesm 0.5, 1.4, 6.8",
        Family.RUNE,
        "The container gets no attestation: it refuses a quote of another length",
        c.prepare_and_quote(c.rune_prepares, c.rune_quotes),
        needs_report=True,
    ),
)
