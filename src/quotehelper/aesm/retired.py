"""AESM requests that no daemon serves any more, and what answers them. Pure.

EPID, launch tokens, white lists (understood until release 2.27) and the platform services (until 2.7). Clients
still ask, and expect an answer in kind. Source: aesm 2.1 to 2.3; field numbers and names are Intel's.
"""

from __future__ import annotations

from quotehelper.aesm.envelope import Request, Response
from quotehelper.wire.protobuf import boolean, octets, u32, u64

# EPID


class InitQuoteResponse(Response, field=1):
    """The quoting enclave's target info (512 bytes) and the platform's EPID group (4)."""

    target_info: bytes | None = octets(2, default=None)
    gid: bytes | None = octets(3, default=None)


class InitQuoteRequest(Request, response=InitQuoteResponse):
    """Say for which enclave the report must be made."""


class GetQuoteResponse(Response, field=2):
    """An EPID quote, and the quoting enclave's report (432 bytes) over it."""

    quote: bytes | None = octets(2, default=None)
    qe_report: bytes | None = octets(3, default=None)


class GetQuoteRequest(Request, response=GetQuoteResponse):
    """Make an EPID quote over ``report`` (432 bytes) for the service provider ``spid`` (16)."""

    report: bytes = octets(1)
    quote_type: int = u32(2)
    spid: bytes = octets(3)
    nonce: bytes | None = octets(4, default=None)
    sig_rl: bytes | None = octets(5, default=None)
    buf_size: int = u32(6)
    qe_report: bool | None = boolean(7, default=None)


class ReportAttestationErrorResponse(Response, field=4):
    """What must be updated (12 bytes)."""

    platform_update_info: bytes | None = octets(2, default=None)


class ReportAttestationErrorRequest(Request, response=ReportAttestationErrorResponse):
    """Interpret what the attestation service said about the platform."""

    platform_info: bytes = octets(1)
    attestation_error_code: int = u32(2)
    update_info_size: int = u32(3)


class CheckUpdateStatusResponse(Response, field=18):
    """What must be updated (12 bytes)."""

    platform_update_info: bytes | None = octets(2, default=None)
    status: int | None = u32(3, default=None)


class CheckUpdateStatusRequest(Request, response=CheckUpdateStatusResponse):
    """Say whether the platform needs an update."""

    platform_info: bytes | None = octets(1, default=None)
    update_info_size: int = u32(2)
    config: int = u32(3)


class SGXGetExtendedEpidGroupIdResponse(Response, field=12):
    """The extended EPID group, normally 0."""

    x_group_id: int | None = u32(2, default=None)


class SGXGetExtendedEpidGroupIdRequest(Request, response=SGXGetExtendedEpidGroupIdResponse):
    """Say which extended EPID group is in use."""


class SGXSwitchExtendedEpidGroupResponse(Response, field=13):
    """Whether it was switched."""


class SGXSwitchExtendedEpidGroupRequest(Request, response=SGXSwitchExtendedEpidGroupResponse):
    """Use another extended EPID group."""

    x_group_id: int | None = u32(1, default=None)


# Launch control


class GetLaunchTokenResponse(Response, field=3):
    """A launch token (304 bytes)."""

    token: bytes | None = octets(2, default=None)


class GetLaunchTokenRequest(Request, response=GetLaunchTokenResponse):
    """Allow this enclave to be launched. ``mr_signer`` is really the signer's RSA modulus (384 bytes)."""

    mr_enclave: bytes = octets(1)
    mr_signer: bytes = octets(2)
    se_attributes: bytes = octets(3)


class GetWhiteListSizeResponse(Response, field=10):
    """The white list's size in bytes."""

    white_list_size: int | None = u32(2, default=None)


class GetWhiteListSizeRequest(Request, response=GetWhiteListSizeResponse):
    """Say how large the white list is."""


class GetWhiteListResponse(Response, field=11):
    """The white list: tens of kilobytes."""

    white_list: bytes | None = octets(2, default=None)


class GetWhiteListRequest(Request, response=GetWhiteListResponse):
    """Say which signers may launch enclaves."""

    white_list_size: int | None = u32(1, default=None)


class SGXRegisterResponse(Response, field=14):
    """Whether it was registered."""


class SGXRegisterRequest(Request, response=SGXRegisterResponse):
    """Register ``buf``: a white-list certificate if ``data_type`` is 0, the only type there is."""

    buf: bytes = octets(1)
    data_type: int = u32(2)


# Platform services


class CreateSessionResponse(Response, field=5):
    """A session and its first Diffie-Hellman message."""

    session_id: int | None = u32(2, default=None)
    se_dh_msg1: bytes | None = octets(3, default=None)


class CreateSessionRequest(Request, response=CreateSessionResponse):
    """Open a session with the platform services."""

    dh_msg1_size: int = u32(1)


class InvokeServiceResponse(Response, field=6):
    """The service's answer."""

    pse_message: bytes | None = octets(2, default=None)


class InvokeServiceRequest(Request, response=InvokeServiceResponse):
    """Pass a message to the platform services."""

    pse_message: bytes = octets(1)
    pse_resp_size: int = u32(2)


class ExchangeReportResponse(Response, field=7):
    """The session's third Diffie-Hellman message."""

    se_dh_msg3: bytes | None = octets(2, default=None)


class ExchangeReportRequest(Request, response=ExchangeReportResponse):
    """Pass on the session's second Diffie-Hellman message."""

    session_id: int = u32(1)
    se_dh_msg2: bytes = octets(2)
    se_dh_msg3_size: int = u32(3)


class CloseSessionResponse(Response, field=8):
    """Whether it was closed."""


class CloseSessionRequest(Request, response=CloseSessionResponse):
    """Close a session with the platform services."""

    session_id: int = u32(1)


class GetPsCapResponse(Response, field=9):
    """What the platform services can do."""

    ps_cap: int | None = u64(2, default=None)


class GetPsCapRequest(Request, response=GetPsCapResponse):
    """Say what the platform services can do."""
