"""What real data lacks: each row of dcap 5.3 and more, made, and judged by quotehelper and by dcap-qvl side by side.

Strict semantics give dcap-qvl's verdict, but for the rows that name an exception: a row of the table in
docs/compatibility.md, where that page says what is done and why. Intel's verdicts are those measured with its library
(dcap 5.3); of rows beyond that list they follow from its order of checks (dcap 7.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID

from evidence import (
    APP,
    END,
    Evidence,
    evidence,
    is_status,
    pem,
    reissue,
    reissue_crl,
    revoking,
    sgx_extension,
)
from harness import VECTORS
from quotehelper.documents.collateral import Collateral
from quotehelper.documents.sgx_extension import encode_sgx_extension
from quotehelper.documents.signed_json import split_signed, write_time
from quotehelper.errors import CollateralError, VerificationError
from quotehelper.platforms.simulated.certificates import Issuer
from quotehelper.platforms.simulated.settings import initial
from quotehelper.sgx.quote import CertificationData, CertificationType
from quotehelper.sgx.report import AttributeFlags, Attributes, ReportBody
from quotehelper.verification.roots import Roots
from quotehelper.verification.semantics import INTEL, STRICT
from quotehelper.verification.verify import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from quotehelper.documents.sgx_extension import SgxExtension

OK = "UpToDate"
EXTENSIONS_ROW = "extensions missing from a certificate or CRL; names without Intel's phrases"
CONSTRAINTS_ROW = "basic constraints, key usage, unknown critical extensions"
PCE_ROW = "PCE id of TCB info and certificate differ"
TWICE_ROW = "a TCB level listed twice"
SAME_SPACE_ROW = "signed and served with the same white space"
CONFIGURATION_ROW = "status ConfigurationNeeded of a quoting enclave"
VERSION_2_ROW = "TCB info of version 2"
MISLABELLED_ROW = "TCB info of version 2 with components in the form of version 3"
CHAIN_ROW = "PCK chain that is not leaf, intermediate, root"
ROOT_ROW = "root's own signature"
CPU_SVN_ROW = "CPUSVN and components of a certificate differ"
TIME_ROW = "a time that is not written as `2026-01-31T23:59:59Z`"
VERSION_4_ROW = "quote of version 4 over an SGX enclave"
BESIDE_ROW = "certification data of types 1 to 4, chain given beside"
ISSUER_CHAIN_ROW = "chain that comes with the PCK's CRL"


class Row(NamedTuple):
    """A change, and what is said of it: Intel's verdict, strict's (the same if None), and a named exception."""

    change: Callable[[Evidence], Evidence]
    intel: str
    strict: str | None = None
    exception: str | None = None
    """The row of docs/compatibility.md by which strict differs from dcap-qvl."""


def certificate(name: str, **changes: Any) -> Callable[[Evidence], Evidence]:  # noqa: ANN401  those of reissue
    return lambda e: e.with_certificate(name, **changes)


def tcb_info(**members: object) -> Callable[[Evidence], Evidence]:
    return lambda e: e.with_tcb_info(lambda document: document.update(members))


def without(document: str, member: str) -> Callable[[Evidence], Evidence]:
    change = Evidence.with_tcb_info if document == "tcb_info" else Evidence.with_qe_identity
    return lambda e: change(e, lambda members: members.pop(member))


def level(**members: object) -> Callable[[Evidence], Evidence]:
    """The platform's level, changed."""
    return lambda e: e.with_tcb_info(lambda document: document["tcbLevels"][0].update(members))


def qe_level(**members: object) -> Callable[[Evidence], Evidence]:
    return lambda e: e.with_qe_identity(lambda document: document["tcbLevels"][0].update(members))


def quote(at: int, value: bytes) -> Callable[[Evidence], Evidence]:
    """The quote's header changed, and signed anew."""

    def change(e: Evidence) -> Evidence:
        raw = bytearray(e.quote.header.raw)
        raw[at : at + len(value)] = value
        return e.with_header(bytes(raw))

    return change


def at_tcb(component: bytes, cpu_svn: bytes) -> SgxExtension:
    """A platform whose first component, and first byte of the CPUSVN, are these."""
    svns = sgx_extension().cpu_svn[1:]
    return sgx_extension(components=tuple(component + svns), cpu_svn=cpu_svn + svns)


def called_otherwise(name: str) -> Callable[[Evidence], Evidence]:
    """The certificate ``name`` without Intel's phrase, everything that it issued made anew in its new name."""

    def change(e: Evidence) -> Evidence:
        e = e.with_certificate(name, common_name="Simulated")
        if name == "root":
            issued = {each: reissue(getattr(e, each), e.root) for each in ("intermediate", "signer")}
            e = e.but(**issued, root_crl=revoking(e.root))
        return e.but(leaf=reissue(e.leaf, e.intermediate), pck_crl=revoking(e.intermediate)) if name != "leaf" else e

    return change


def certification(kind: CertificationType, data: bytes = b"\1" * 36) -> Callable[[Evidence], Evidence]:
    return lambda e: e.but(quote=e.quote._replace(certification=CertificationData(kind, data)))


def report(**fields: Any) -> Callable[[Evidence], Evidence]:  # noqa: ANN401  those of ReportBody
    return lambda e: e.with_body(ReportBody.build(**({"attributes": APP} | fields)))


def levels_times(times: int) -> Callable[[Evidence], Evidence]:
    return lambda e: e.with_tcb_info(lambda document: document["tcbLevels"].extend(times * document["tcbLevels"][:1]))


def by_another_root(name: str) -> Callable[[Evidence], Evidence]:
    """The certificate ``name`` signed by somebody else's key, in its issuer's name."""
    return certificate(name, signed_by=ec.generate_private_key(ec.SECP256R1()))


def of_another_platform(e: Evidence) -> Evidence:
    """The leaf belongs to another key than the one that certified the quoting enclave."""
    other = Issuer(ec.generate_private_key(ec.SECP256R1()), e.leaf.certificate)
    return e.but(leaf=reissue(other, e.intermediate))


def of_family(certified: str, listed: str) -> Callable[[Evidence], Evidence]:
    """The platform's FMSPC, and how the TCB info writes one."""
    sgx = encode_sgx_extension(sgx_extension(fmspc=bytes.fromhex(certified)))
    return lambda e: tcb_info(fmspc=listed)(e.with_certificate("leaf", sgx=sgx))


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0")
FIVE = {
    "authority key identifier": x509.AuthorityKeyIdentifier,
    "CRL distribution points": x509.CRLDistributionPoints,
    "subject key identifier": x509.SubjectKeyIdentifier,
    "key usage": x509.KeyUsage,
    "basic constraints": x509.BasicConstraints,
}
NAMES = ("root", "intermediate", "leaf", "signer")
CHAIN_OF = dict.fromkeys(NAMES, "pck_chain") | {"signer": "tcb_info_chain"}

ROWS: dict[str, Row] = {
    "nothing changed": Row(lambda e: e, OK),
    # Certificates
    **{
        f"{name} without {called}": Row(
            certificate(name, without=kind),
            f"{CHAIN_OF[name]}: format",
            exception=None
            if kind is x509.BasicConstraints and name == "intermediate"
            else EXTENSIONS_ROW,
        )
        for name in NAMES
        for called, kind in FIVE.items()
    },
    **{
        f"{name} called otherwise": Row(
            called_otherwise(name), f"{CHAIN_OF[name]}: format", exception=EXTENSIONS_ROW
        )
        for name in NAMES
    },
    "the phrases with text around them": Row(
        lambda e: e.with_certificate("leaf", common_name="A Simulated SGX PCK Certificate of a test"), OK
    ),
    "leaf by another authority's key": Row(by_another_root("leaf"), "pck_chain: signature"),
    "intermediate by another root's key": Row(by_another_root("intermediate"), "pck_chain: signature"),
    "signer by another root's key": Row(by_another_root("signer"), "tcb_info_chain: signature"),
    "root by another key": Row(by_another_root("root"), "pck_chain: signature", exception=ROOT_ROW),
    "leaf signed with SHA-384": Row(
        certificate("leaf", algorithm=SHA384()), "pck_chain: format"
    ),
    "leaf issued by the root": Row(
        lambda e: e.but(leaf=reissue(e.leaf, e.root)), "pck_chain: issuer", exception=CHAIN_ROW
    ),
    "somebody else's root": Row(
        lambda e: e.but(trusted=evidence("platform", initial()).root.certificate), "trusted_root: untrusted"
    ),
    "leaf of another platform": Row(of_another_platform, "qe_report_signature: signature"),
    "intermediate that is no authority": Row(
        certificate("intermediate", extension=x509.BasicConstraints(ca=False, path_length=None), critical=True),
        OK,
        "pck_chain: issuer",
    ),
    "root that allows no intermediate": Row(
        certificate("root", extension=x509.BasicConstraints(ca=True, path_length=0), critical=True),
        OK,
        "pck_chain: issuer",
        CONSTRAINTS_ROW,
    ),
    "unknown critical extension": Row(
        certificate("leaf", extension=UNKNOWN, critical=True),
        OK,
        "pck_chain: format",
    ),
    "unknown extension that is not critical": Row(
        certificate("leaf", extension=UNKNOWN), OK
    ),
    "extended key usage of another kind": Row(
        certificate("leaf", extension=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
        OK,
        "pck_chain: format",
    ),
    "SGX extension cut short": Row(
        certificate("leaf", sgx=encode_sgx_extension(sgx_extension())[:-1]), "pck_chain: format"
    ),
    # Order and form of the chain
    "leaf, root, intermediate": Row(lambda e: e.but(order=("leaf", "root", "intermediate")), OK),
    "chain without NUL": Row(lambda e: e.but(nul=b""), OK),
    "chain without root": Row(
        lambda e: e.but(order=("leaf", "intermediate")), "pck_chain: format", exception=CHAIN_ROW
    ),
    "chain without intermediate": Row(lambda e: e.but(order=("leaf", "root")), "pck_chain: format"),
    # Revocation
    "leaf revoked": Row(
        lambda e: e.but(pck_crl=revoking(e.intermediate, e.leaf.certificate.serial_number)), "pck_revocation: revoked"
    ),
    "leaf revoked without a reason": Row(
        lambda e: e.but(pck_crl=reissue_crl(e.pck_crl, e.intermediate, revoked=[e.leaf.certificate.serial_number])),
        "pck_revocation: revoked",
    ),
    "another leaf revoked": Row(lambda e: e.but(pck_crl=reissue_crl(e.pck_crl, e.intermediate, revoked=[7])), OK),
    "intermediate revoked": Row(
        lambda e: e.but(root_crl=revoking(e.root, e.intermediate.certificate.serial_number)), "pck_revocation: revoked"
    ),
    "root revoked": Row(
        lambda e: e.but(root_crl=revoking(e.root, e.root.certificate.serial_number)), "pck_revocation: revoked"
    ),
    "signer revoked": Row(
        lambda e: e.but(root_crl=revoking(e.root, e.signer.certificate.serial_number)), "tcb_info_chain: revoked"
    ),
    "CRL without number": Row(
        lambda e: e.but(pck_crl=reissue_crl(e.pck_crl, e.intermediate, without=x509.CRLNumber)),
        "pck_crl: format",
        exception=EXTENSIONS_ROW,
    ),
    "CRL without authority key identifier": Row(
        lambda e: e.but(root_crl=reissue_crl(e.root_crl, e.root, without=x509.AuthorityKeyIdentifier)),
        "root_ca_crl: format",
        exception=EXTENSIONS_ROW,
    ),
    "CRL of another issuer": Row(lambda e: e.but(pck_crl=e.root_crl), "pck_crl: issuer"),
    "CRL signed by another key": Row(
        lambda e: e.but(pck_crl=reissue_crl(e.pck_crl, Issuer(e.root.key, e.intermediate.certificate))),
        "pck_crl: signature",
    ),
    # TCB info
    "FMSPC in lower case": Row(of_family("00a067110000", "00a067110000"), OK),
    "FMSPC in upper case": Row(of_family("00a067110000", "00A067110000"), OK),
    "another FMSPC": Row(tcb_info(fmspc="515545000009"), "platform_family: mismatch"),
    "another PCE": Row(tcb_info(pceId="0100"), "platform_family: mismatch", exception=PCE_ROW),
    "TCB info of TDX": Row(tcb_info(id="TDX"), "platform_family: mismatch"),
    "components with category and type": Row(
        lambda e: e.with_tcb_info(
            lambda document: [
                part.update(category="BIOS", type="Early Microcode Update")
                for each in document["tcbLevels"]
                for part in each["tcb"]["sgxtcbcomponents"]
            ]
        ),
        OK,
    ),
    "a component too many": Row(
        lambda e: e.with_tcb_info(
            lambda document: document["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].append({"svn": 0})
        ),
        "tcb_info_format: format",
    ),
    "a component too few": Row(
        lambda e: e.with_tcb_info(lambda document: document["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].pop()),
        "tcb_info_format: format",
    ),
    "an SVN of 256": Row(
        lambda e: e.with_tcb_info(
            lambda document: document["tcbLevels"][1]["tcb"]["sgxtcbcomponents"][0].update(svn=256)
        ),
        "tcb_info_format: format",
    ),
    "a date with a fraction": Row(
        tcb_info(issueDate="2026-11-14T12:00:00.5Z"), "tcb_info_format: format", exception=TIME_ROW
    ),
    "a date with an offset": Row(
        tcb_info(issueDate="2026-11-14T12:00:00+00:00"), "tcb_info_format: format", exception=TIME_ROW
    ),
    "TCB type 1": Row(tcb_info(tcbType=1), OK),
    "a signature in capitals": Row(
        lambda e: e.but(tcb_info=e.tcb_info[:-130] + e.tcb_info[-130:].upper()), OK
    ),
    "a member that nobody knows": Row(tcb_info(colour=["green"]), OK),
    "levels from the lowest up": Row(
        lambda e: e.with_tcb_info(lambda document: document["tcbLevels"].reverse()), OK
    ),
    "a level twice": Row(levels_times(1), "tcb_info_format: format", exception=TWICE_ROW),
    "no levels": Row(tcb_info(tcbLevels=[]), "tcb_info_format: format"),
    **{
        f"TCB info without {member}": Row(without("tcb_info", member), "tcb_info_format: format")
        for member in (
            *("id", "version", "tcbType", "tcbEvaluationDataNumber", "issueDate", "nextUpdate", "fmspc", "pceId"),
            "tcbLevels",
        )
    },
    "a level without date": Row(
        lambda e: e.with_tcb_info(lambda document: document["tcbLevels"][0].pop("tcbDate")), "tcb_info_format: format"
    ),
    "an unknown status": Row(level(tcbStatus="Splendid"), "tcb_info_format: format"),
    "version 2 with components of version 3": Row(
        tcb_info(version=2), "tcb_info_format: format", exception=MISLABELLED_ROW
    ),
    "no level low enough": Row(
        lambda e: e.with_tcb_info(
            lambda document: [each["tcb"].update(pcesvn=14) for each in document["tcbLevels"]]
            and document["tcbLevels"][1]["tcb"].update(pcesvn=15)
        ),
        "platform_tcb: unsupported",
    ),
    "components and CPUSVN too low": Row(
        certificate("leaf", sgx=encode_sgx_extension(at_tcb(b"\x0e", b"\x0e"))), "platform_tcb: unsupported"
    ),
    "a component too low": Row(
        certificate("leaf", sgx=encode_sgx_extension(at_tcb(b"\x0e", b"\x10"))),
        "platform_tcb: unsupported",
        exception=CPU_SVN_ROW,
    ),
    "a CPUSVN too low": Row(
        certificate("leaf", sgx=encode_sgx_extension(at_tcb(b"\x10", b"\x0e"))), OK, "platform_tcb: unsupported"
    ),
    "a component and a CPUSVN a level below": Row(
        certificate("leaf", sgx=encode_sgx_extension(at_tcb(b"\x0f", b"\x0f"))), "OutOfDate"
    ),
    "a CPUSVN a level below": Row(
        certificate("leaf", sgx=encode_sgx_extension(at_tcb(b"\x10", b"\x0f"))), OK, "OutOfDate"
    ),
    "TCB info issued tomorrow": Row(
        tcb_info(issueDate="2026-11-25T12:00:00Z"), OK, "tcb_info_validity: not_yet_valid"
    ),
    "TCB info expired": Row(tcb_info(nextUpdate="2026-11-23T12:00:00Z"), OK, "tcb_info_validity: expired"),
    "QE identity issued tomorrow": Row(
        lambda e: e.with_qe_identity(lambda document: document.update(issueDate="2026-11-25T12:00:00Z")),
        OK,
        "qe_identity_validity: not_yet_valid",
    ),
    "QE identity expired": Row(
        lambda e: e.with_qe_identity(lambda document: document.update(nextUpdate="2026-11-23T12:00:00Z")),
        OK,
        "qe_identity_validity: expired",
    ),
    "platform level revoked": Row(level(tcbStatus="Revoked"), "tcb_status: revoked"),
    # Texts
    "signed compact, served pretty": Row(
        lambda e: e.with_tcb_info(lambda _: None, served_indent=2), OK, "tcb_info_signature: signature"
    ),
    "signed and served pretty": Row(
        lambda e: e.with_tcb_info(lambda _: None, served_indent=2, signed_indent=2),
        "tcb_info_signature: signature",
        exception=SAME_SPACE_ROW,
    ),
    "QE identity signed compact, served pretty": Row(
        lambda e: e.with_qe_identity(lambda _: None, served_indent=2), OK, "qe_identity_signature: signature"
    ),
    "QE identity signed and served pretty": Row(
        lambda e: e.with_qe_identity(lambda _: None, served_indent=2, signed_indent=2),
        "qe_identity_signature: signature",
        exception=SAME_SPACE_ROW,
    ),
    # QE identity
    **{
        f"QE identity without {member}": Row(without("qe_identity", member), "qe_identity_format: format")
        for member in (
            *("id", "version", "issueDate", "nextUpdate", "tcbEvaluationDataNumber", "miscselect", "miscselectMask"),
            *("attributes", "attributesMask", "mrsigner", "isvprodid", "tcbLevels"),
        )
    },
    "identity of the QvE": Row(
        lambda e: e.with_qe_identity(lambda document: document.update(id="QVE")), "qe_identity: mismatch"
    ),
    "QE of another signer": Row(lambda e: e.with_qe_report(mr_signer=b"\1" * 32), "qe_identity: mismatch"),
    "QE of another product": Row(lambda e: e.with_qe_report(isv_prod_id=2), "qe_identity: mismatch"),
    "QE with another MISCSELECT": Row(lambda e: e.with_qe_report(misc_select=1), "qe_identity: mismatch"),
    "QE without provisioning key": Row(
        lambda e: e.with_qe_report(attributes=Attributes.build(flags=AttributeFlags.INIT, xfrm=7)),
        "qe_identity: mismatch",
    ),
    "debug QE": Row(
        lambda e: e.with_qe_report(
            attributes=Attributes.build(
                flags=AttributeFlags.INIT | AttributeFlags.PROVISION_KEY | AttributeFlags.DEBUG, xfrm=7
            )
        ),
        "qe_identity: mismatch",
    ),
    "QE with other XFRM and 32 bit": Row(
        lambda e: e.with_qe_report(
            attributes=Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.PROVISION_KEY, xfrm=0x60207)
        ),
        OK,
    ),
    "QE below every level": Row(lambda e: e.with_qe_report(isv_svn=5), "qe_tcb: unsupported"),
    "QE level revoked": Row(qe_level(tcbStatus="Revoked"), "tcb_status: revoked"),
    "QE level ConfigurationNeeded": Row(
        qe_level(tcbStatus="ConfigurationNeeded"), "OutOfDate", exception=CONFIGURATION_ROW
    ),
    "QE level SWHardeningNeeded": Row(qe_level(tcbStatus="SWHardeningNeeded"), "qe_identity_format: format"),
    # Quote
    "auth data of 0 bytes": Row(lambda e: e.with_auth_data(b""), OK, "qe_report_data: unsupported"),
    "auth data of 16 bytes": Row(lambda e: e.with_auth_data(b"a" * 16), OK, "qe_report_data: unsupported"),
    "auth data of 64 bytes": Row(lambda e: e.with_auth_data(b"a" * 64), OK, "qe_report_data: unsupported"),
    "other auth data of 32 bytes": Row(lambda e: e.with_auth_data(b"a" * 32), OK),
    "user data in the header": Row(quote(28, b"\xff" * 20), OK),
    "SVNs in the header": Row(quote(8, bytes(4)), OK),
    "QE report data beyond the hash": Row(
        lambda e: e.with_qe_report(report_data=e.quote.qe_report.report_data[:32] + b"\1" * 32), OK
    ),
    "QE report data of another key": Row(
        lambda e: e.with_qe_report(report_data=bytes(64)), "qe_report_data: mismatch"
    ),
    "enclave without INIT": Row(report(attributes=Attributes.build(xfrm=7)), OK),
    "debug enclave": Row(
        report(attributes=Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.DEBUG, xfrm=7)),
        OK,
        "enclave_debug: debug",
    ),
    "CPUSVN in the report": Row(report(cpu_svn=bytes(16)), OK),
    "quote of version 4": Row(quote(0, b"\4"), OK, exception=VERSION_4_ROW),
    "another vendor": Row(quote(12, b"\1"), "quote_format: unsupported"),
    "quote version 2": Row(quote(0, b"\2"), "quote_format: format"),
    "key type 3": Row(quote(2, b"\3"), "quote_format: format"),
    "TEE type of TDX": Row(quote(4, b"\x81"), "quote_format: format"),
    "trailing bytes": Row(lambda e: e.but(quote=e.quote._replace(trailing=b"claims" * 11)), OK),
    "certification type 1, chain beside": Row(
        certification(CertificationType.PPID_CLEAR), OK, "certification_data: unsupported",
        BESIDE_ROW,
    ),
    "certification type 3, chain beside": Row(
        certification(CertificationType.PPID_RSA_3072, b"\1" * 404), OK, "certification_data: unsupported",
        BESIDE_ROW,
    ),
    "certification type 4, chain beside": Row(
        certification(CertificationType.PCK_LEAF), OK, "certification_data: unsupported",
        BESIDE_ROW,
    ),
}  # fmt: skip


def documented_exceptions() -> set[str]:
    page = (VECTORS.parents[1] / "docs" / "compatibility.md").read_text()
    return {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_intels_semantics_give_intels_verdict(name: str, ca: str) -> None:
    row = ROWS[name]
    assert row.change(evidence(ca)).case().judge(INTEL) == row.intel


@pytest.mark.parametrize("name", ROWS)
def test_strict_semantics_give_the_expected_verdict(name: str) -> None:
    row = ROWS[name]
    assert row.change(evidence()).case().judge(STRICT) == (row.strict or row.intel)


@pytest.mark.parametrize("name", ROWS)
def test_strict_semantics_agree_with_dcap_qvl_or_the_exception_is_documented(name: str) -> None:
    row = ROWS[name]
    case = row.change(evidence()).case()
    ours, theirs = case.judge(STRICT), case.judge_by_dcap_qvl()
    agreed = ours == theirs if is_status(ours) else not is_status(theirs)
    assert agreed is (row.exception is None), f"ours {ours}, dcap-qvl's {theirs}"
    assert row.exception is None or row.exception in documented_exceptions()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.exception != VERSION_4_ROW])
def test_strict_never_accepts_what_dcap_qvl_refuses_but_for_two_named_forms(name: str) -> None:
    case = ROWS[name].change(evidence()).case()
    if is_status(case.judge(STRICT)):
        assert is_status(case.judge_by_dcap_qvl())


def test_the_chain_of_another_issuer_beside_the_pcks_crl_is_refused_by_strict_alone() -> None:
    case = evidence().case()
    other = pem((evidence("platform").intermediate, evidence("platform").root))
    changed = case._replace(collateral=case.collateral._replace(pck_crl_issuer_chain=other))
    assert (changed.judge(INTEL), changed.judge_by_dcap_qvl()) == (OK, OK)
    assert changed.judge(STRICT) == "pck_crl: mismatch"
    assert ISSUER_CHAIN_ROW in documented_exceptions()


def test_tcb_info_of_version_2_is_accepted_though_dcap_qvl_cannot_read_it() -> None:
    def as_version_2(document: dict[str, Any]) -> None:
        document["version"] = 2
        del document["id"]
        for each in document["tcbLevels"]:
            components = each["tcb"].pop("sgxtcbcomponents")
            named = {f"sgxtcbcomp{number:02}svn": part["svn"] for number, part in enumerate(components, 1)}
            each["tcb"] = named | each["tcb"]

    case = evidence().with_tcb_info(as_version_2).case()
    assert case.judge(STRICT) == case.judge(INTEL) == OK
    assert not is_status(case.judge_by_dcap_qvl())
    assert VERSION_2_ROW in documented_exceptions()


@pytest.mark.parametrize(
    "write",
    [
        lambda chain: chain.replace(b"\n", b"\r\n"),
        lambda chain: chain.replace(b"CATE-----\n", b"CATE-----"),
        lambda chain: chain.rstrip(b"\n"),
        lambda chain: b"\n" + chain + b" \n\n",
        lambda chain: chain + b"\0\0",
    ],
    ids=["CRLF", "no line ends", "no last line end", "space around", "two NULs"],
)
def test_chains_are_taken_as_services_write_them(write: Callable[[bytes], bytes]) -> None:
    case = evidence().case()
    chains = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
    written = {name: write(getattr(case.collateral, name)) for name in chains}
    changed = case._replace(collateral=case.collateral._replace(**written))
    data = CertificationData(CertificationType.PCK_CHAIN, write(evidence().chain))
    quoted = changed._replace(quote=evidence().quote._replace(certification=data).encode())
    for each in (changed, quoted):
        assert each.judge(STRICT) == each.judge(INTEL) == OK


def test_documents_may_end_with_the_nul_that_intels_clients_count() -> None:
    case = evidence().case()
    fields = ("tcb_info", "qe_identity", "tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain")
    ended = {name: getattr(case.collateral, name) + b"\0" for name in fields}
    changed = case._replace(collateral=case.collateral._replace(**ended))
    assert changed.judge(STRICT) == changed.judge(INTEL) == OK


def test_a_signature_before_its_document_is_as_good() -> None:
    case = evidence().case()
    body, signature = split_signed(case.collateral.tcb_info, "tcbInfo")
    swapped = b'{"signature":"%s","tcbInfo":%s}' % (signature.hex().encode(), body)
    changed = case._replace(collateral=case.collateral._replace(tcb_info=swapped))
    assert changed.judge(STRICT) == changed.judge(INTEL) == OK


@pytest.mark.parametrize("field", [name for name in Collateral._fields if name != "pck_chain"])
def test_what_is_missing_is_told_as_missing(field: str) -> None:
    case = evidence().case()
    changed = case._replace(collateral=case.collateral._replace(**{field: b""}))
    for semantics in (STRICT, INTEL):
        assert changed.judge(semantics).endswith(": missing")
        with pytest.raises(CollateralError, match="collateral service"):
            changed.verify(semantics)


def test_one_verifier_tells_platforms_apart_whatever_their_order() -> None:
    one = evidence()
    other = certificate("leaf", sgx=encode_sgx_extension(at_tcb(b"\x0f", b"\x0f")))(one)
    case, verdicts = one.case(), []
    verifier = Verifier(case.collateral, roots=Roots.insecure(case.root))
    for quoted in (one, other, other, one, of_another_platform(one), other):
        try:
            verdicts.append(verifier.verify(quoted.case().quote, at=case.at).status.value)
        except VerificationError as error:
            verdicts.append(error.step.value)
    assert verdicts == [OK, "OutOfDate", "OutOfDate", OK, "qe_report_signature", "OutOfDate"]


def test_another_certificate_of_the_same_root_key_is_refused_by_intel_alone() -> None:
    """As Intel's own root has two (dcap 5.2)."""
    made = evidence()
    older = reissue(made.root, made.root, end=END)
    case = made.case()
    signers = pem((made.signer, older))
    changed = case._replace(collateral=case.collateral._replace(tcb_info_issuer_chain=signers))
    assert changed.judge(STRICT) == changed.judge_by_dcap_qvl() == OK
    assert changed.judge(INTEL) == "tcb_info_chain: untrusted"
    all_older = made.but(root=older).case()
    assert all_older.judge(STRICT) == all_older.judge(INTEL) == all_older.judge_by_dcap_qvl() == OK


def test_write_time_and_made_times_agree() -> None:
    assert write_time(END) == "2026-12-14T12:00:00Z"
