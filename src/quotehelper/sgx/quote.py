"""Quotes: version 3 read and built, versions 4 and 5 (SGX and TDX bodies) read. Pure.

Source: Intel's ECDSA quote library API reference and TDX DCAP quoting library API reference, appendix A, as
measured in dcap 1.1 and 1.2. Integers little endian; the four elliptic-curve values big endian.

Layout of version 3, bytes 0 to 431 of which the quote signature covers:

=========  ====  ====================  ======================================================
offset     size  field                 note
=========  ====  ====================  ======================================================
0          48    header                see QuoteHeader
48         384   body                  the application enclave's report body
432        4     signature_data_len L  counts what follows
436        64    signature             r ‖ s, by the attestation key
500        64    attestation_key       x ‖ y
564        384   qe_report             report body of the QE, whose report data binds the key
948        64    qe_report_signature   r ‖ s, by the PCK, over the 384 bytes
1012       2+A   auth_data             length, data; its hash is bound with the key
1014+A     2     certification type    see CertificationType
1016+A     4+C   certification data    length, data
436+L      any   trailing              not covered by anything; Open Enclave puts claims there
=========  ====  ====================  ======================================================

Version 4 has a body of 384 (SGX) or 584 bytes (TDX) by its TEE type; version 5 puts a body type (2) and size (4)
before the body. In both, signature and key are followed by certification data of type 6, which wraps the QE
report, its signature, the auth data and the inner certification data.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import NamedTuple

from quotehelper.errors import DecodeError
from quotehelper.sgx.report import ReportBody
from quotehelper.wire import U16, U32, U64, Octets, Reader, Structure

INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
ECDSA_P256_KEY_TYPE = 2
TEE_SGX = 0x00
TEE_TDX = 0x81
SIGNATURE_DATA_LIMIT = 1 << 20
"""Bytes of signature data accepted at most: PCK chains take 4 KiB, platform manifests up to 56 KiB (dcap 6.1)."""


class QuoteHeader(Structure):
    """The first 48 bytes of every quote.

    ======  ====  ============  =================================================================
    offset  size  field         note
    ======  ====  ============  =================================================================
    0       2     version       3, 4 or 5
    2       2     att_key_type  2: ECDSA-P256
    4       4     tee_type      0 SGX, 0x81 TDX
    8       2     qe_svn        version 3: ISVSVN of the running QE; reserved later
    10      2     pce_svn       version 3: ISVSVN of the running PCE, not the certificate's PCESVN
    12      16    qe_vendor_id  Intel's: 939a7233f79c4ca9940a0db3957f0607
    28      20    user_data     Intel's QE3: QE_ID in the first 16 bytes
    ======  ====  ============  =================================================================

    QE SVN before PCE SVN: two verifiers disagree; real quotes decide (dcap 1.1).
    """

    SIZE = 48

    version = U16(0)
    att_key_type = U16(2)
    tee_type = U32(4)
    qe_svn = U16(8)
    pce_svn = U16(10)
    qe_vendor_id = Octets(12, 16)
    user_data = Octets(28, 20)


class TdReportBody(Structure):
    """The body of a TDX 1.0 quote.

    ======  ====  ================  =======================
    offset  size  field             note
    ======  ====  ================  =======================
    0       16    tee_tcb_svn
    16      48    mr_seam           of the TDX module
    64      48    mr_signer_seam
    112     8     seam_attributes
    120     8     td_attributes     bit 0: DEBUG
    128     8     xfam
    136     48    mr_td
    184     48    mr_config_id
    232     48    mr_owner
    280     48    mr_owner_config
    328     192   rtmr0 to rtmr3    48 bytes each
    520     64    report_data
    ======  ====  ================  =======================
    """

    SIZE = 584

    tee_tcb_svn = Octets(0, 16)
    mr_seam = Octets(16, 48)
    mr_signer_seam = Octets(64, 48)
    seam_attributes = U64(112)
    td_attributes = U64(120)
    xfam = U64(128)
    mr_td = Octets(136, 48)
    mr_config_id = Octets(184, 48)
    mr_owner = Octets(232, 48)
    mr_owner_config = Octets(280, 48)
    rtmr0 = Octets(328, 48)
    rtmr1 = Octets(376, 48)
    rtmr2 = Octets(424, 48)
    rtmr3 = Octets(472, 48)
    report_data = Octets(520, 64)


class TdReportBody15(TdReportBody):
    """The body of a TDX 1.5 quote: TDX 1.0's, then ``tee_tcb_svn_2`` (16 at 584) and ``mr_service_td`` (48 at 600)."""

    SIZE = 648

    tee_tcb_svn_2 = Octets(584, 16)
    mr_service_td = Octets(600, 48)


class TdReportBody15Extended(TdReportBody15):
    """Body type 4 of a version 5 quote: TDX 1.5's, then 237 bytes that our sources don't name, kept as they are."""

    SIZE = 885


QuoteBody = ReportBody | TdReportBody
_V5_BODIES: dict[int, type[QuoteBody]] = {
    1: ReportBody,
    2: TdReportBody,
    3: TdReportBody15,
    4: TdReportBody15Extended,
}


class CertificationType(enum.IntEnum):
    """What certifies the QE report's signer (dcap 1.1)."""

    PPID_CLEAR = 1
    PPID_RSA_2048 = 2
    PPID_RSA_3072 = 3
    PCK_LEAF = 4
    PCK_CHAIN = 5
    QE_REPORT = 6
    PLATFORM_MANIFEST = 7


_PPID_SIZES = {
    CertificationType.PPID_CLEAR: 16,
    CertificationType.PPID_RSA_2048: 256,
    CertificationType.PPID_RSA_3072: 384,
}


_PCK_CHAIN = int(CertificationType.PCK_CHAIN)
_SIGNATURE_DATA_START = 436


class PpidCertification(NamedTuple):
    """Certification data of types 1 to 3: which PCK certificate would be needed.

    ``ppid``: 16 bytes in clear, or 256 or 384 encrypted for Intel; then ``cpu_svn`` (16), ``pce_isv_svn`` (2) and
    ``pce_id`` (2; None in the older form of type 1 that ends before it).
    """

    ppid: bytes
    cpu_svn: bytes
    pce_isv_svn: int
    pce_id: int | None


class CertificationData(NamedTuple):
    """Certification data: ``type`` says what ``data`` is. The quote signature does not cover it."""

    type: CertificationType
    data: bytes

    def encode(self) -> bytes:
        """Type (2), size (4), data."""
        return self.type.to_bytes(2, "little") + len(self.data).to_bytes(4, "little") + self.data

    def pem_chain(self) -> bytes:
        """The PEM text of type 5, without the NUL that Intel's provider library leaves at its end.

        Raises DecodeError for other types.
        """
        if self.type is not CertificationType.PCK_CHAIN:
            raise DecodeError("CertificationData", "type", f"type {self.type:d} holds no PCK chain, type 5 does")
        return self.data.rstrip(b"\0")

    def ppid(self) -> PpidCertification:
        """The content of types 1 to 3. Raises DecodeError for other types or a wrong size."""
        size = _PPID_SIZES.get(self.type)
        if size is None:
            raise DecodeError("CertificationData", "type", f"type {self.type:d} holds no PPID, types 1 to 3 do")
        reader = Reader(self.data, "CertificationData")
        ppid = reader.octets(size, "ppid")
        cpu_svn = reader.octets(16, "cpu_svn")
        pce_isv_svn = reader.unsigned(2, "pce_isv_svn")
        short = self.type is CertificationType.PPID_CLEAR and not reader.remaining
        pce_id = None if short else reader.unsigned(2, "pce_id")
        reader.end()
        return PpidCertification(ppid, cpu_svn, pce_isv_svn, pce_id)


class Quote(NamedTuple):
    """A quote of version 3, 4 or 5, taken apart but not verified.

    Everything in it is under the control of whoever sent it. ``signed`` is exactly what the quote signature
    covers; ``signature``, ``attestation_key`` and ``qe_report_signature`` are 64 bytes, two big-endian numbers
    each; ``certification`` is the inner one (types 1 to 5) in versions 4 and 5; ``trailing`` is what follows.
    """

    header: QuoteHeader
    body: QuoteBody
    signature: bytes
    attestation_key: bytes
    qe_report: ReportBody
    qe_report_signature: bytes
    auth_data: bytes
    certification: CertificationData
    trailing: bytes = b""

    @property
    def signed(self) -> bytes:
        """The bytes that the quote signature covers: all before the signature length."""
        return _signed(self.header, self.body)

    def encode(self) -> bytes:
        """The quote's bytes, equal to those it was read from."""
        certified = encode_qe_certification(
            self.qe_report, self.qe_report_signature, self.auth_data, self.certification
        )
        if self.header.version > 3:  # noqa: PLR2004  versions 4 and 5 wrap
            certified = CertificationData(CertificationType.QE_REPORT, certified).encode()
        data = self.signature + self.attestation_key + certified
        return b"".join((self.signed, len(data).to_bytes(4, "little"), data, self.trailing))


def encode_qe_certification(
    qe_report: ReportBody, qe_report_signature: bytes, auth_data: bytes, certification: CertificationData
) -> bytes:
    """QE report, its signature, auth data and certification data: what follows the attestation key."""
    return b"".join(
        (qe_report.raw, qe_report_signature, len(auth_data).to_bytes(2, "little"), auth_data, certification.encode())
    )


def read_quote(raw: bytes) -> Quote:
    """The quote in ``raw``, which anybody may have made; trailing bytes are kept.

    Raises DecodeError, naming the field, for a version other than 3 to 5, a key type other than ECDSA-P256, an
    unknown TEE or certification type, or lengths that don't agree.
    """
    return _cut_whole(raw) or _read_step_by_step(raw)


_WHOLE = Struct("<48s384sI64s64s384s64sH")
_WHOLE_START = bytes.fromhex("0300020000000000")
_CERTIFICATION_START = Struct("<HI")


def _cut_whole(raw: bytes) -> Quote | None:
    """What `_read_step_by_step` reads, if ``raw`` is a quote of version 3 with a PCK chain and its lengths agree.

    Nearly all are, and it takes a third of the time. What is odd in any way is None, and read again field by field.
    """
    if len(raw) < _WHOLE.size or not raw.startswith(_WHOLE_START):
        return None
    header, body, size, signature, key, qe_report, qe_signature, auth_size = _WHOLE.unpack_from(raw)
    certification = _WHOLE.size + auth_size
    data, end = certification + _CERTIFICATION_START.size, _SIGNATURE_DATA_START + size
    if size > SIGNATURE_DATA_LIMIT or not data <= end <= len(raw):
        return None
    kind, data_size = _CERTIFICATION_START.unpack_from(raw, certification)
    if kind != _PCK_CHAIN or data + data_size != end:
        return None
    return Quote(
        QuoteHeader(header),
        ReportBody(body),
        signature,
        key,
        ReportBody(qe_report),
        qe_signature,
        raw[_WHOLE.size : certification],
        CertificationData(CertificationType.PCK_CHAIN, raw[data:end]),
        raw[end:],
    )


def _read_step_by_step(raw: bytes) -> Quote:
    """The quote in ``raw``, as `read_quote` says."""
    reader = Reader(raw, "Quote")
    header = QuoteHeader(reader.octets(QuoteHeader.SIZE, "header"))
    body = _read_body(reader, header)
    data = Reader(reader.sized(4, SIGNATURE_DATA_LIMIT, "signature_data_len"), "Quote.signature_data")
    trailing = reader.rest()
    signature = data.octets(64, "signature")
    attestation_key = data.octets(64, "attestation_key")
    if header.version > 3:  # noqa: PLR2004  versions 4 and 5 wrap
        data = _unwrap(data)
    qe_report = ReportBody(data.octets(ReportBody.SIZE, "qe_report"))
    qe_report_signature = data.octets(64, "qe_report_signature")
    auth_data = data.sized(2, data.remaining, "auth_data")
    certification = _read_certification(data)
    data.end()
    return Quote(
        header, body, signature, attestation_key, qe_report, qe_report_signature, auth_data, certification, trailing
    )


def _signed(header: QuoteHeader, body: QuoteBody) -> bytes:
    if header.version == 5:  # noqa: PLR2004  only version 5 announces its body
        kind = next(number for number, cls in _V5_BODIES.items() if cls is type(body))
        return header.raw + kind.to_bytes(2, "little") + body.SIZE.to_bytes(4, "little") + body.raw
    return header.raw + body.raw


def _read_body(reader: Reader, header: QuoteHeader) -> QuoteBody:
    if header.att_key_type != ECDSA_P256_KEY_TYPE:
        raise DecodeError(
            "Quote", "header.att_key_type", f"{header.att_key_type} given, only 2 (ECDSA-P256) is known", offset=2
        )
    if header.tee_type != TEE_SGX and (header.tee_type != TEE_TDX or header.version == 3):  # noqa: PLR2004
        raise DecodeError("Quote", "header.tee_type", f"{header.tee_type:#x} does not fit the version", offset=4)
    if header.version == 3:  # noqa: PLR2004
        kind: type[QuoteBody] = ReportBody
    elif header.version == 4:  # noqa: PLR2004
        kind = ReportBody if header.tee_type == TEE_SGX else TdReportBody
    elif header.version == 5:  # noqa: PLR2004
        kind = _read_body_kind(reader)
    else:
        raise DecodeError("Quote", "header.version", f"{header.version} given, 3 to 5 are known", offset=0)
    return kind(reader.octets(kind.SIZE, "body"))


def _read_body_kind(reader: Reader) -> type[QuoteBody]:
    number = reader.unsigned(2, "body_type")
    kind = _V5_BODIES.get(number)
    if kind is None:
        reader.refuse("body_type", f"{number} given, 1 to 4 are known")
    if (size := reader.unsigned(4, "body_size")) != kind.SIZE:
        reader.refuse("body_size", f"{size} given, body type {number} has {kind.SIZE} bytes")
    return kind


def _unwrap(data: Reader) -> Reader:
    """The inside of the type 6 certification data of versions 4 and 5."""
    if (number := data.unsigned(2, "certification_type")) != CertificationType.QE_REPORT:
        data.refuse("certification_type", f"{number} given, versions 4 and 5 wrap in type 6")
    inner = data.sized(4, SIGNATURE_DATA_LIMIT, "certification_data")
    data.end()
    return Reader(inner, "Quote.qe_report_certification_data")


def _read_certification(data: Reader) -> CertificationData:
    number = data.unsigned(2, "certification_type")
    if number not in CertificationType.__members__.values():
        data.refuse("certification_type", f"{number} given, 1 to 7 are known")
    return CertificationData(CertificationType(number), data.sized(4, SIGNATURE_DATA_LIMIT, "certification_data"))
