"""How known client libraries speak to a daemon, and what they make of its answers. Shell.

Each function is a part of one library's conversation, request for request, with the fields, timeouts and buffer sizes
that the library sends, and refuses what the library would refuse. Source: aesm 6, 1.4, 1.5, 3.2; recorded exchanges of
libsgx_quote_ex and Gramine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from quotehelper.aesm import messages as m
from quotehelper.aesm import retired as r
from quotehelper.aesm.client_libraries import SgxStatus, intel_client_status
from quotehelper.conformance.check import Unmet
from quotehelper.conformance.connection import INTEL, Peer, Speech
from quotehelper.conformance.examined import (
    KEY_ID_SIZE,
    PUBLIC_KEY_ID_SIZE,
    Prepared,
    count_of,
    prepared_of,
    size_of,
    sized,
    succeeded,
    told,
    unpadded,
)
from quotehelper.conformance.oddities import INTEL_TIMEOUT, K, key_list
from quotehelper.conformance.quoting import GRAMINE_BUFFER, LARGE_BUFFER, check_qe_report
from quotehelper.errors import TransportError
from quotehelper.sgx.key_id import AttestationAlgorithm, AttestationKeyId, QeReportInfo
from quotehelper.sgx.report import Report, TargetInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.conformance.examined import Examined

_R = TypeVar("_R", bound=m.Response)

_STACK_GARBAGE = 0x7FFC_DEAD_BEEF_0000
"""What libsgx_dcap_ql leaves in the buffer size of its first init (aesm 0.7)."""
_NONCE = bytes(range(0xA0, 0xB0))
_FORTANIX_TIMEOUT, _ENARX_TIMEOUT = 30_000_000, 1_000_000
"""Fortanix counts microseconds; what enarx counts it does not say."""
_GRAMINE_ROUNDS, _OCCLUM_ROUNDS = 5, 5
_OCCLUM_QUOTES = 3
_BUSY, _NOT_INITIALIZED = 18, 42

FORTANIX = Speech(writes=1, waits_for_backlog=False)
RUNE = Speech(writes=2, reads_body_once=True)


class Ready(NamedTuple):
    """What a client knows before it has its enclave make a report. ``key`` is the key's id, 256 bytes."""

    key: bytes
    prepared: Prepared
    quote_size: int


class Client:
    """A client library that moves its bytes as ``speech`` says and writes ``timeout`` into its requests.

    ``key``: the id of the key that it asks for.
    """

    def __init__(self, examined: Examined, speech: Speech, timeout: int | None, key: bytes = K) -> None:
        self.key = key
        self._examined = examined
        self._speech = speech
        self.timeout = timeout

    def call(self, request: m.Request, expected: type[_R]) -> _R:
        """The answer, whose status must be 0."""
        return self._examined.succeed(request, expected, self._speech)

    def ask(self, request: m.Request, expected: type[_R], timeout_s: float | None = None) -> _R:
        """The answer, whatever its status."""
        return self._examined.ask(request, expected, self._speech, timeout_s)

    def listed_keys(self) -> tuple[AttestationKeyId, ...]:
        """21, then 22 with room for as many."""
        count = count_of(
            self.call(m.GetSupportedAttKeyIDNumRequest(timeout=self.timeout), m.GetSupportedAttKeyIDNumResponse)
        )
        size = KEY_ID_SIZE * count
        request = m.GetSupportedAttKeyIDsRequest(buf_size=size, timeout=self.timeout)
        listed = sized("att_key_ids", self.call(request, m.GetSupportedAttKeyIDsResponse).att_key_ids, size)
        return tuple(AttestationKeyId(listed[at : at + KEY_ID_SIZE]) for at in range(0, size, KEY_ID_SIZE))

    def public_key_id_size(self, buffer: int | None = None) -> int:
        """15 without the key's id: only how large it is."""
        request = m.InitQuoteExRequest(att_key_id=self.key, b_pub_key_id=False, buf_size=buffer, timeout=self.timeout)
        size = self.call(request, m.InitQuoteExResponse).pub_key_id_size
        if size != PUBLIC_KEY_ID_SIZE:
            raise Unmet(f"pub_key_id_size {PUBLIC_KEY_ID_SIZE}", f"{size}")
        return size

    def prepare(self, size: int, timeout: int | None) -> Prepared:
        """15 with the key's id; ``timeout`` may differ from that of the other requests."""
        request = m.InitQuoteExRequest(att_key_id=self.key, b_pub_key_id=True, buf_size=size, timeout=timeout)
        return prepared_of(self.call(request, m.InitQuoteExResponse))

    def quote_size(self) -> int:
        """16."""
        request = m.GetQuoteSizeExRequest(att_key_id=self.key, timeout=self.timeout)
        return size_of(self.call(request, m.GetQuoteSizeExResponse))

    def quote(self, report: Report, size: int, info: QeReportInfo | None = None) -> m.GetQuoteExResponse:
        """17 with room for ``size`` bytes; what comes must fit into it."""
        response = self.call(self.quote_request(report, size, info), m.GetQuoteExResponse)
        if response.quote is None or len(response.quote) > size:
            raise Unmet(f"a quote of at most {size} bytes", told(response))
        return response

    def quote_request(self, report: Report, size: int, info: QeReportInfo | None = None) -> m.GetQuoteExRequest:
        """What asks for a quote."""
        raw = None if info is None else info.raw
        return m.GetQuoteExRequest(
            report=report.raw, att_key_id=self.key, qe_report_info=raw, buf_size=size, timeout=self.timeout
        )


# Intel's libraries, and what stands on them


def intel(examined: Examined, key: bytes = K) -> Client:
    """libsgx_quote_ex: a connection for each call, 15 s in each request."""
    return Client(examined, INTEL, INTEL_TIMEOUT, key)


def quote_ex_chooses_key(examined: Examined) -> bytes:
    """sgx_get_supported_att_key_id_num, …_ids, sgx_select_att_key_id without a list."""
    client = intel(examined)
    client.listed_keys()
    return _select(client, None)


def quote_ex_prepares(examined: Examined, key: bytes = K, buffer: int | None = None) -> Ready:
    """sgx_init_quote_ex twice, sgx_get_quote_size_ex."""
    client = intel(examined, key)
    prepared = client.prepare(client.public_key_id_size(buffer), INTEL_TIMEOUT)
    return Ready(key, prepared, client.quote_size())


def dcap_ql_prepares(examined: Examined) -> Ready:
    """sgx_qe_get_target_info, sgx_qe_get_quote_size, out of process."""
    return quote_ex_prepares(examined, buffer=_STACK_GARBAGE)


def quote_ex_quotes(examined: Examined, ready: Ready) -> None:
    """sgx_get_quote_ex."""
    report = examined.speaker.report(ready.prepared.target_info)
    response = intel(examined, ready.key).quote(report, ready.quote_size)
    examined.accept_quote(unpadded(response.quote or b""), report)


def quote_ex_quotes_with_nonce(examined: Examined, ready: Ready) -> None:
    """sgx_get_quote_ex with qe_report_info."""
    report, info = _with_info(examined, ready.prepared.target_info)
    response = intel(examined, ready.key).quote(report, ready.quote_size, info)
    quote = unpadded(response.quote or b"")
    check_qe_report(examined, quote, info, response.qe_report_info)
    examined.accept_quote(quote, report)


def ukey_exchange_prepares(examined: Examined) -> Ready:
    """As the RemoteAttestation sample: 19 with the one id that its verifier takes, then sgx_ra_get_msg1_ex."""
    return quote_ex_prepares(examined, _select(intel(examined), key_list(K)))


def ukey_exchange_quotes(examined: Examined, ready: Ready) -> None:
    """sgx_ra_proc_msg2_ex and sgx_ra_get_msg3: the enclave hashes nonce and the whole buffer of the size told."""
    report, info = _with_info(examined, ready.prepared.target_info)
    response = intel(examined, ready.key).quote(report, ready.quote_size, info)
    quote = sized("quote", response.quote, ready.quote_size)
    check_qe_report(examined, quote, info, response.qe_report_info)
    examined.accept_quote(quote, report)


def quote_ex_reports_bad_mac(examined: Examined) -> None:
    """sgx_get_quote_ex with a report that nobody made: the application must learn that its MAC does not hold."""
    client = intel(examined)
    client.prepare(PUBLIC_KEY_ID_SIZE, INTEL_TIMEOUT)
    request = client.quote_request(Report(bytes(Report.SIZE)), LARGE_BUFFER)
    status = client.ask(request, m.GetQuoteExResponse).error_code
    seen = intel_client_status(m.GetQuoteExRequest, status)
    if seen is not SgxStatus.ERROR_MAC_MISMATCH:
        raise Unmet("0x3001 MAC_MISMATCH from sgx_get_quote_ex", f"0x{seen:04x} {seen.name} (status {status})")


def open_enclave_chooses_key(examined: Examined) -> bytes:
    """21 and 22, once a process; ids of other algorithms are passed over."""
    return _take_ecdsa(intel(examined).listed_keys())


def open_enclave_prepares(examined: Examined) -> Ready:
    """15, 15, and the size twice: for the caller, and again within the quote call."""
    ready = quote_ex_prepares(examined, open_enclave_chooses_key(examined))
    again = intel(examined, ready.key).quote_size()
    if again != ready.quote_size:
        raise Unmet(f"the same size as before, {ready.quote_size}", f"{again}")
    return ready


def open_enclave_quotes(examined: Examined, ready: Ready) -> None:
    """17 without qe_report_info. Its verifier wants the quote to end where the buffer ends."""
    report = examined.speaker.report(ready.prepared.target_info)
    response = intel(examined, ready.key).quote(report, ready.quote_size)
    examined.accept_quote(response.quote or b"", report)


def occlum_prepares(examined: Examined) -> Ready:
    """What libsgx_dcap_ql does; an answer of 18 is tried again five times, a second apart."""
    request = m.GetQuoteSizeExRequest(att_key_id=K, timeout=INTEL_TIMEOUT)
    for _round in range(_OCCLUM_ROUNDS):
        if intel(examined).ask(request, m.GetQuoteSizeExResponse).error_code != _BUSY:
            break
        time.sleep(examined.peer.retry_pause_s)
    return dcap_ql_prepares(examined)


def occlum_quotes(examined: Examined, ready: Ready) -> None:
    """Several quotes in the life of a process, all with the target info and size of its beginning."""
    for _number in range(_OCCLUM_QUOTES):
        quote_ex_quotes(examined, ready)


# Others


def fortanix_probes(examined: Examined) -> None:
    """try_connect: connect and drop; then the runner goes on."""
    with examined.peer.connect(wait=False):
        pass
    _fortanix(examined).listed_keys()


def fortanix_launches(examined: Examined) -> None:
    """What the loader asks before each enclave: any answer in kind will do, but it waits for it."""
    request = r.GetLaunchTokenRequest(
        mr_enclave=bytes(32), mr_signer=bytes(384), se_attributes=bytes(16), timeout=_FORTANIX_TIMEOUT
    )
    _fortanix(examined).ask(request, r.GetLaunchTokenResponse, examined.peer.prompt_s)


def fortanix_prepares(examined: Examined) -> Ready:
    """21, 22, an ECDSA key of them, 15, 15 without timeout, 16; a frame in one write."""
    client = _fortanix(examined)
    client.key = _take_ecdsa(client.listed_keys())
    return Ready(client.key, client.prepare(client.public_key_id_size(), None), client.quote_size())


def fortanix_quotes(examined: Examined, ready: Ready) -> None:
    """17, always with qe_report_info; a missing one is a panic. The quote is used as it comes."""
    report, info = _with_info(examined, ready.prepared.target_info)
    response = _fortanix(examined, ready.key).quote(report, ready.quote_size, info)
    check_qe_report(examined, response.quote or b"", info, response.qe_report_info)
    examined.accept_quote(response.quote or b"", report)


def gramine_starts(examined: Examined) -> Prepared:
    """15 with the key's id, no timeout; the application ends if it fails."""
    return Client(examined, INTEL, None).prepare(PUBLIC_KEY_ID_SIZE, None)


def gramine_finds_daemon(examined: Examined) -> str:
    """The abstract name first; only if nobody listens there, the path. Both must lead to the same process."""
    name = examined.peer.abstract_name
    if name is None:
        return "the socket is not where Gramine looks"
    try:
        there = Peer(name, timeout_s=examined.peer.prompt_s).process_id()
    except TransportError:
        return "nobody has the abstract name: any process of this machine can take it"
    here = examined.peer.process_id()
    if there != here:
        raise Unmet(f"process {here} at the abstract name as well", f"process {there}")
    return ""


def gramine_quotes(examined: Examined) -> None:
    """17 into 8192 bytes; on 42, and on nothing else, again from 15, five times."""
    client = Client(examined, INTEL, None)
    response = m.GetQuoteExResponse(_NOT_INITIALIZED)
    report = Report(bytes(Report.SIZE))
    for _round in range(_GRAMINE_ROUNDS):
        report = examined.speaker.report(gramine_starts(examined).target_info)
        response = client.ask(client.quote_request(report, GRAMINE_BUFFER), m.GetQuoteExResponse)
        if response.error_code != _NOT_INITIALIZED:
            break
    examined.accept_quote(unpadded(succeeded(response).quote or b""), report)


def enarx_prepares(examined: Examined) -> Ready:
    """21 and 22 before each step; the size of the key's id as it was told."""
    client = Client(examined, INTEL, _ENARX_TIMEOUT)
    client.listed_keys()
    size = client.public_key_id_size()
    client.listed_keys()
    prepared = client.prepare(size, _ENARX_TIMEOUT)
    client.listed_keys()
    return Ready(K, prepared, client.quote_size())


def enarx_quotes(examined: Examined, ready: Ready) -> None:
    """17; the quote must have exactly the buffer's size."""
    client = Client(examined, INTEL, _ENARX_TIMEOUT)
    client.listed_keys()
    _quote_of_exact_length(client, examined, ready)


def rune_prepares(examined: Examined) -> Ready:
    """19 without a list; 21 and 22 if that is no ECDSA key; 15, 15, 16; each body in a single read."""
    client = Client(examined, RUNE, INTEL_TIMEOUT)
    client.key = _select(client, None)
    if AttestationKeyId(client.key).algorithm_id != AttestationAlgorithm.ECDSA_P256:
        client.key = _take_ecdsa(client.listed_keys())
    return Ready(client.key, client.prepare(client.public_key_id_size(0), INTEL_TIMEOUT), client.quote_size())


def rune_quotes(examined: Examined, ready: Ready) -> None:
    """17; body in a single read, and of exactly the size that 16 told."""
    _quote_of_exact_length(Client(examined, RUNE, INTEL_TIMEOUT, ready.key), examined, ready)


def prepare_and_quote(
    prepare: Callable[[Examined], Ready], quote: Callable[[Examined, Ready], None]
) -> Callable[[Examined], None]:
    """The whole conversation: what comes before the enclave's report, and what comes after."""

    def run(examined: Examined) -> None:
        quote(examined, prepare(examined))

    return run


def _fortanix(examined: Examined, key: bytes = K) -> Client:
    return Client(examined, FORTANIX, _FORTANIX_TIMEOUT, key)


def _select(client: Client, offered: bytes | None) -> bytes:
    """19: the id that the daemon chooses."""
    request = m.SelectAttKeyIDRequest(att_key_id_list=offered, timeout=INTEL_TIMEOUT)
    selected = client.call(request, m.SelectAttKeyIDResponse).selected_att_key_id
    return sized("selected_att_key_id", selected, AttestationKeyId.SIZE)


def _quote_of_exact_length(client: Client, examined: Examined, ready: Ready) -> None:
    report = examined.speaker.report(ready.prepared.target_info)
    quote = client.quote(report, ready.quote_size).quote
    examined.accept_quote(unpadded(sized("quote", quote, ready.quote_size)), report)


def _with_info(examined: Examined, target: TargetInfo) -> tuple[Report, QeReportInfo]:
    info = QeReportInfo.build(nonce=_NONCE, app_enclave_target_info=examined.speaker.target)
    return examined.speaker.report(target), info


def _take_ecdsa(keys: tuple[AttestationKeyId, ...]) -> bytes:
    for key in keys:
        if key.algorithm_id == AttestationAlgorithm.ECDSA_P256:
            return key.raw
    raise Unmet("a key of the ECDSA-P256 algorithm", f"{len(keys)} others")
