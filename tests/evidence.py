"""Evidence to judge: recorded cases, and made ones of which each part can be changed and signed anew.

A made case is put together from the parts of the simulated authority, and judged by quotehelper and by dcap-qvl.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import dcap_qvl
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from harness import VECTORS
from quotehelper.documents import collateral as collaterals
from quotehelper.documents.collateral import Collateral
from quotehelper.documents.pck import Role, read_crl
from quotehelper.documents.sgx_extension import OID, SgxExtension, SgxType
from quotehelper.documents.signed_json import split_signed, write_signed
from quotehelper.errors import VerificationError
from quotehelper.platforms.simulated.authority import create
from quotehelper.platforms.simulated.certificates import Issuer, Validity, make_crl, make_pck
from quotehelper.platforms.simulated.enclaves import AUTH_DATA, encode_point, encode_signature, qe3_identity
from quotehelper.platforms.simulated.settings import PCK_TCB, Settings, initial
from quotehelper.sgx.quote import (
    ECDSA_P256_KEY_TYPE,
    INTEL_QE_VENDOR_ID,
    CertificationData,
    CertificationType,
    Quote,
    QuoteHeader,
)
from quotehelper.sgx.report import AttributeFlags, Attributes, ReportBody
from quotehelper.verification.roots import Roots
from quotehelper.verification.semantics import STRICT, Semantics
from quotehelper.verification.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quotehelper.verification.result import VerifiedQuote

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
START, END = NOW - dt.timedelta(days=10), NOW + dt.timedelta(days=20)
FMSPC = bytes.fromhex("515545000000")
APP = Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=7)
_MONTH = Validity(START, END)


class Case(NamedTuple):
    """What a verifier is given."""

    quote: bytes
    collateral: Collateral
    root: bytes
    """PEM."""
    at: dt.datetime

    def verify(self, semantics: Semantics = STRICT) -> VerifiedQuote:
        """The facts, as quotehelper finds them."""
        roots = Roots.insecure(self.root)
        return verify(self.quote, self.collateral, roots=roots, at=self.at, semantics=semantics)

    def judge(self, semantics: Semantics = STRICT) -> str:
        """Quotehelper's verdict: a status, or "step: reason"."""
        try:
            return self.verify(semantics).status.value
        except VerificationError as error:
            return f"{error.step.value}: {error.reason.value}"

    def judge_by_dcap_qvl(self) -> str:
        """dcap-qvl's verdict: a status, or "refused: why"."""
        try:
            documents = dcap_qvl.QuoteCollateralV3.from_json(collaterals.encode_collateral(self.collateral).decode())
            root = x509.load_pem_x509_certificate(self.root).public_bytes(Encoding.DER)
            at = int(self.at.timestamp())
            return str(dcap_qvl.verify_with_root_ca(self.quote, documents, root, at).status)
        except ValueError as error:
            return f"refused: {error}"


def is_status(verdict: str) -> bool:
    """Whether a verdict is a status: the quote was found genuine."""
    return ": " not in verdict


RECORDED = sorted(path.name for path in (VECTORS / "quotes").iterdir() if path.is_dir())


def recorded(name: str) -> Case:
    """The recorded case ``name``."""
    files = {path.name: path.read_bytes() for path in (VECTORS / "quotes" / name).iterdir()}
    at = dt.datetime.fromtimestamp(meta(name)["check_time_unix"], dt.UTC)
    return Case(files["quote.bin"], collaterals.from_files(files), files["trusted_root.pem"], at)


def meta(name: str) -> dict[str, Any]:
    """Where the recorded case ``name`` comes from, and what verifiers say of it."""
    document: dict[str, Any] = json.loads((VECTORS / "quotes" / name / "meta.json").read_bytes())
    return document


@dataclass(frozen=True)
class Evidence:
    """A made case, its parts apart. Certificates come with their owners' keys; documents with their signatures."""

    root: Issuer
    intermediate: Issuer
    leaf: Issuer
    signer: Issuer
    root_crl: bytes
    pck_crl: bytes
    tcb_info: bytes
    qe_identity: bytes
    quote: Quote
    key: ec.EllipticCurvePrivateKey
    """The attestation key."""
    trusted: x509.Certificate
    order: tuple[str, ...] = ("leaf", "intermediate", "root")
    nul: bytes = b"\0"
    at: dt.datetime = NOW

    def but(self, **changes: Any) -> Evidence:  # noqa: ANN401  any field
        """The same with ``changes``."""
        return replace(self, **changes)

    @property
    def chain(self) -> bytes:
        """The PCK chain as PEM."""
        return pem(getattr(self, name) for name in self.order)

    def case(self) -> Case:
        """What a verifier gets."""
        quote = self.quote
        if quote.certification.type is CertificationType.PCK_CHAIN:
            data = CertificationData(CertificationType.PCK_CHAIN, self.chain + self.nul)
            quote = quote._replace(certification=data)
        signers = pem((self.signer, self.root))
        collateral = Collateral(
            pck_crl_issuer_chain=pem((self.intermediate, self.root)),
            root_ca_crl=self.root_crl,
            pck_crl=self.pck_crl,
            tcb_info_issuer_chain=signers,
            tcb_info=self.tcb_info,
            qe_identity_issuer_chain=signers,
            qe_identity=self.qe_identity,
            pck_chain=self.chain,
        )
        return Case(quote.encode(), collateral, self.trusted.public_bytes(Encoding.PEM), self.at)

    def with_certificate(self, name: str, **changes: Any) -> Evidence:  # noqa: ANN401  see reissue
        """The certificate ``name`` issued anew with ``changes`` (see `reissue`), the others as they were."""
        by = {"leaf": self.intermediate, "intermediate": self.root, "signer": self.root, "root": self.root}[name]
        changed = self.but(**{name: reissue(getattr(self, name), by, **changes)})
        return changed.but(trusted=changed.root.certificate)

    def with_tcb_info(self, change: Callable[[dict[str, Any]], object], **form: Any) -> Evidence:  # noqa: ANN401  see sign_document
        """The TCB info changed and signed anew."""
        return self.but(tcb_info=sign_document(self.tcb_info, "tcbInfo", self.signer, change, **form))

    def with_qe_identity(self, change: Callable[[dict[str, Any]], object], **form: Any) -> Evidence:  # noqa: ANN401  see sign_document
        """The QE identity changed and signed anew."""
        return self.but(qe_identity=sign_document(self.qe_identity, "enclaveIdentity", self.signer, change, **form))

    def with_header(self, raw: bytes) -> Evidence:
        """The quote with another header, signed anew."""
        return self._signed(self.quote._replace(header=QuoteHeader(raw)))

    def with_body(self, body: ReportBody) -> Evidence:
        """The quote over another report, signed anew."""
        return self._signed(self.quote._replace(body=body))

    def with_auth_data(self, auth_data: bytes) -> Evidence:
        """The quote with other auth data, bound and certified anew."""
        digest = hashlib.sha256(encode_point(self.key.public_key()) + auth_data).digest()
        quote = self.quote._replace(auth_data=auth_data)
        return self.but(quote=quote).with_qe_report(report_data=digest + bytes(32))

    def with_qe_report(self, **fields: Any) -> Evidence:  # noqa: ANN401  those of ReportBody
        """The quote with another QE report, certified anew."""
        old = self.quote.qe_report
        kept = {name: getattr(old, name) for name in ("attributes", "mr_enclave", "mr_signer", "isv_prod_id")}
        kept |= {name: getattr(old, name) for name in ("isv_svn", "misc_select", "report_data", "cpu_svn")}
        report = ReportBody.build(**(kept | fields))
        signature = encode_signature(self.leaf.key.sign(report.raw, ec.ECDSA(SHA256())))
        return self.but(quote=self.quote._replace(qe_report=report, qe_report_signature=signature))

    def _signed(self, quote: Quote) -> Evidence:
        signature = encode_signature(self.key.sign(quote.header.raw + quote.body.raw, ec.ECDSA(SHA256())))
        return self.but(quote=quote._replace(signature=signature))


@functools.cache
def evidence(ca: str = "processor", settings: Settings | None = None) -> Evidence:
    """A whole case that everybody accepts as UpToDate, or whatever ``settings`` make of it."""
    authority = create(START)
    role = {"processor": Role.PROCESSOR_CA, "platform": Role.PLATFORM_CA}[ca]
    pck, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issued = make_pck(pck.public_key(), Role.PCK, authority.issuers[role], "https://x/", _MONTH, sgx_extension())
    documents = replace(authority, settings=settings or initial()).collateral(FMSPC, ca, START)
    point = encode_point(key.public_key())
    qe_report = ReportBody.build(
        **qe3_identity()._asdict(), report_data=hashlib.sha256(point + AUTH_DATA).digest() + bytes(32)
    )
    header = QuoteHeader.build(
        version=3, att_key_type=ECDSA_P256_KEY_TYPE, qe_svn=11, pce_svn=16, qe_vendor_id=INTEL_QE_VENDOR_ID
    )
    body = ReportBody.build(attributes=APP, mr_enclave=b"\xe1" * 32, mr_signer=b"\x51" * 32, report_data=b"d" * 64)
    quote = Quote(
        header=header,
        body=body,
        signature=encode_signature(key.sign(header.raw + body.raw, ec.ECDSA(SHA256()))),
        attestation_key=point,
        qe_report=qe_report,
        qe_report_signature=encode_signature(pck.sign(qe_report.raw, ec.ECDSA(SHA256()))),
        auth_data=AUTH_DATA,
        certification=CertificationData(CertificationType.PCK_CHAIN, b""),
        trailing=b"",
    )
    return Evidence(
        root=authority.issuers[Role.ROOT],
        intermediate=authority.issuers[role],
        leaf=Issuer(pck, issued),
        signer=authority.issuers[Role.TCB_SIGNING],
        root_crl=documents.root_ca_crl,
        pck_crl=documents.pck_crl,
        tcb_info=write_signed("tcbInfo", *documents.tcb_info),
        qe_identity=write_signed("enclaveIdentity", *documents.qe_identity),
        quote=quote,
        key=key,
        trusted=documents.root,
    )


def sgx_extension(**changes: Any) -> SgxExtension:  # noqa: ANN401  those of SgxExtension
    """What a PCK certificate says of its platform."""
    extension = SgxExtension(
        ppid=b"p" * 16,
        components=tuple(PCK_TCB.cpu_svn),
        pce_svn=PCK_TCB.pce_svn,
        cpu_svn=PCK_TCB.cpu_svn,
        pce_id=bytes(2),
        fmspc=FMSPC,
        sgx_type=SgxType.STANDARD,
    )
    return replace(extension, **changes)


def reissue(  # noqa: PLR0913  one argument a change
    owner: Issuer,
    by: Issuer,
    *,
    without: type[x509.ExtensionType] | None = None,
    common_name: str | None = None,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
    extension: x509.ExtensionType | None = None,
    critical: bool = False,
    sgx: bytes | None = None,
    signed_by: ec.EllipticCurvePrivateKey | None = None,
    algorithm: SHA256 | SHA384 | None = None,
) -> Issuer:
    """The certificate of ``owner``, issued ``by`` again: itself but for the changes, and for its key if
    ``owner`` has another."""
    old = owner.certificate
    subject = old.subject if common_name is None else rename(old.subject, common_name)
    issuer = subject if owner.certificate == by.certificate else by.certificate.subject
    builder = x509.CertificateBuilder(issuer, subject, owner.key.public_key(), old.serial_number)
    builder = builder.not_valid_before(start or old.not_valid_before_utc).not_valid_after(
        end or old.not_valid_after_utc
    )
    for each in old.extensions:
        value = each.value
        if without is not None and isinstance(value, without):
            continue
        if sgx is not None and each.oid.dotted_string == OID:
            value = x509.UnrecognizedExtension(each.oid, sgx)
        if extension is None or each.oid != extension.oid:
            builder = builder.add_extension(value, critical=each.critical)
    if extension is not None:
        builder = builder.add_extension(extension, critical=critical)
    return Issuer(owner.key, builder.sign(signed_by or by.key, algorithm or SHA256()))


def reissue_crl(
    raw: bytes,
    by: Issuer,
    *,
    without: type[x509.ExtensionType] | None = None,
    revoked: Iterable[int] = (),
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
) -> bytes:
    """The CRL ``raw``, issued ``by`` again, with the serial numbers ``revoked``, without a reason."""
    old = read_crl(raw)
    builder = x509.CertificateRevocationListBuilder(
        by.certificate.subject, start or old.this_update, end or old.next_update
    )
    for each in old.x509.extensions:
        if without is None or not isinstance(each.value, without):
            builder = builder.add_extension(each.value, critical=each.critical)
    for serial in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, old.this_update).build())
    return builder.sign(by.key, SHA256()).public_bytes(Encoding.DER)


def revoking(by: Issuer, *serial_numbers: int) -> bytes:
    """A CRL as the authority makes it."""
    return make_crl(by, _MONTH, serial_numbers)


def sign_document(
    raw: bytes,
    name: str,
    signer: Issuer,
    change: Callable[[dict[str, Any]], object],
    *,
    signed_indent: int | None = None,
    served_indent: int | None = None,
) -> bytes:
    """The document ``raw`` with its inner object changed, and signed anew."""
    document = json.loads(split_signed(raw, name).body)
    change(document)
    signed, served = (_write(document, indent) for indent in (signed_indent, served_indent))
    return write_signed(name, served, encode_signature(signer.key.sign(signed, ec.ECDSA(SHA256()))))


def _write(document: dict[str, Any], indent: int | None) -> bytes:
    separators = (",", ":") if indent is None else None
    return json.dumps(document, indent=indent, separators=separators).encode()


def rename(name: x509.Name, common_name: str) -> x509.Name:
    """``name`` with another common name."""
    kept = [attribute for attribute in name if attribute.oid != NameOID.COMMON_NAME]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name), *kept])


def pem(issuers: Iterable[Issuer]) -> bytes:
    """The certificates of ``issuers``, as text."""
    return b"".join(issuer.certificate.public_bytes(Encoding.PEM) for issuer in issuers)
