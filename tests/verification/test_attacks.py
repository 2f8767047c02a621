"""What an attacker would try: changed bits, exchanged parts, content that hurts before its signature is looked at."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import Case, Evidence, evidence, is_status, recorded
from quotehelper.documents.collateral import FILES
from quotehelper.documents.pck import read_chain
from quotehelper.documents.signed_json import split_signed, write_signed
from quotehelper.errors import VerificationError
from quotehelper.platforms.simulated.settings import initial
from quotehelper.sgx.report import ReportBody
from quotehelper.verification.endorsements import verify_qe_identity, verify_tcb_info
from quotehelper.verification.roots import Roots
from quotehelper.verification.semantics import INTEL, STRICT, Semantics
from quotehelper.verification.verify import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

BOTH = pytest.mark.parametrize("semantics", [STRICT, INTEL], ids=lambda semantics: semantics.name)
GENUINE = ("v01-configandsw-processor-v3", "v15-swhardening-automata")
PARTS = [part for part in FILES if part != "pck_chain"]
STRIDE = 1 if "QUOTEHELPER_FUZZ_DOCUMENTS" in os.environ else 5
"""Of certificates, revocation lists and the longest document each byte is changed in CI, each fifth elsewhere."""
SIGNED_OF_A_QUOTE = [*range(432), *range(436, 1012), *range(1014, 1046)]
"""Header and report; signature, key, QE report and its signature; auth data, bound by a hash in the QE report."""


def cases() -> dict[str, Case]:
    return {"made": evidence("platform").case()} | {name: recorded(name) for name in GENUINE}


CASES = cases()


def flipped(raw: bytes, stride: int = 1) -> Iterator[bytes]:
    """``raw`` with one bit of each byte changed, or of each ``stride``-th; another bit from byte to byte."""
    for at in range(0, len(raw), stride):
        yield raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]


def as_pem(*ders: bytes) -> bytes:
    blocks = (base64.encodebytes(der) for der in ders)
    return b"".join(b"-----BEGIN CERTIFICATE-----\n" + block + b"-----END CERTIFICATE-----\n" for block in blocks)


def accepted(case: Case, semantics: Semantics) -> bool:
    return is_status(case.judge(semantics))


def verifies(verifier: Verifier, case: Case, quote: bytes) -> bool:
    """Whether ``quote`` verifies where the genuine one has just been verified, so that all of it is remembered."""
    try:
        verifier.verify(quote, at=case.at)
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("name", CASES)
@BOTH
def test_a_quote_with_any_byte_of_a_signed_region_changed_never_verifies(name: str, semantics: Semantics) -> None:
    case = CASES[name]
    verifier = Verifier(case.collateral, roots=Roots.insecure(case.root), semantics=semantics)
    assert verifies(verifier, case, case.quote)
    changed = list(flipped(case.quote))
    for at in SIGNED_OF_A_QUOTE:
        assert not verifies(verifier, case, changed[at]), f"byte {at}"


@pytest.mark.parametrize("name", CASES)
@BOTH
def test_a_quote_with_a_changed_byte_does_not_verify_at_first_sight_either(name: str, semantics: Semantics) -> None:
    case = CASES[name]
    changed = list(flipped(case.quote))
    for at in SIGNED_OF_A_QUOTE[:: 16 if STRIDE > 1 else 1]:
        assert not accepted(case._replace(quote=changed[at]), semantics), f"byte {at}"


@pytest.mark.parametrize("name", CASES)
def test_a_quote_with_any_bit_of_its_report_data_changed_never_verifies(name: str) -> None:
    case = CASES[name]
    verifier = Verifier(case.collateral, roots=Roots.insecure(case.root), semantics=INTEL)
    at = 48 + 320
    for bit in range(512):
        raw = bytearray(case.quote)
        raw[at + bit // 8] ^= 1 << bit % 8
        assert not verifies(verifier, case, bytes(raw))


@pytest.mark.parametrize("number", range(3), ids=["leaf", "intermediate", "root"])
@BOTH
def test_a_pck_chain_with_any_byte_changed_never_verifies(number: int, semantics: Semantics) -> None:
    case = CASES["v15-swhardening-automata"]
    start = case.quote.index(b"-----BEGIN")
    ders = [certificate.der for certificate in read_chain(case.quote[start:]).certificates]
    for at, der in enumerate(flipped(ders[number], STRIDE)):
        data = as_pem(*ders[:number], der, *ders[number + 1 :])
        size = len(data).to_bytes(4, "little")
        quote = case.quote[: start - 4] + size + data
        quote = quote[:432] + (len(quote) - 436).to_bytes(4, "little") + quote[436:]
        assert not accepted(case._replace(quote=quote), semantics), f"byte {at * STRIDE}"


@pytest.mark.parametrize("part", ["root_ca_crl", "pck_crl"])
@BOTH
def test_a_revocation_list_with_any_byte_changed_never_verifies(part: str, semantics: Semantics) -> None:
    case = CASES["v01-configandsw-processor-v3"]
    for at, crl in enumerate(flipped(getattr(case.collateral, part), STRIDE)):
        changed = case._replace(collateral=case.collateral._replace(**{part: crl}))
        assert not accepted(changed, semantics), f"byte {at * STRIDE}"


@pytest.mark.parametrize(("part", "name"), [("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")])
@pytest.mark.parametrize(("case", "stride"), [("made", 1), ("v01-configandsw-processor-v3", None)], ids=str)
@BOTH
def test_a_document_with_any_byte_of_body_or_signature_changed_never_verifies(
    part: str, name: str, case: str, stride: int | None, semantics: Semantics
) -> None:
    genuine = CASES[case]
    body, signature = split_signed(getattr(genuine.collateral, part), name)
    bodies = [(changed, signature) for changed in flipped(body, stride or STRIDE)]
    signatures = [(body, changed) for changed in flipped(signature)]
    check = verify_tcb_info if part == "tcb_info" else verify_qe_identity
    roots = Roots.insecure(genuine.root)
    check(genuine.collateral, roots, semantics)
    for document in (*bodies, *signatures):
        changed = genuine.collateral._replace(**{part: write_signed(name, *document)})
        with pytest.raises(VerificationError):
            check(changed, roots, semantics)


@pytest.mark.parametrize("part", ["tcb_info_issuer_chain", "qe_identity_issuer_chain"])
@pytest.mark.parametrize("number", range(2), ids=["signer", "root"])
def test_a_signers_chain_with_any_byte_changed_never_verifies(part: str, number: int) -> None:
    case = CASES["v01-configandsw-processor-v3"]
    ders = [certificate.der for certificate in read_chain(getattr(case.collateral, part)).certificates]
    for at, der in enumerate(flipped(ders[number], STRIDE)):
        chain = as_pem(*ders[:number], der, *ders[number + 1 :])
        changed = case._replace(collateral=case.collateral._replace(**{part: chain}))
        assert not accepted(changed, INTEL), f"byte {at * STRIDE}"


def exchanges() -> list[tuple[str, ...]]:
    """Every choice of parts."""
    return [chosen for size in range(1, len(PARTS) + 1) for chosen in itertools.combinations(PARTS, size)]


def exchanged(case: Case, other: Case, parts: tuple[str, ...]) -> Case:
    given = {part: getattr(other.collateral, part) for part in parts}
    return case._replace(collateral=case.collateral._replace(**given))


@BOTH
def test_no_choice_of_parts_of_another_authoritys_collateral_verifies(semantics: Semantics) -> None:
    """Intel does not look at the chain beside the PCK's CRL, so that one alone is no exchange for it."""
    pair = (evidence().case(), evidence("processor", initial()).case())
    for case, other in (pair, pair[::-1]):
        assert accepted(case, semantics)
        for parts in exchanges():
            if semantics is INTEL and parts == ("pck_crl_issuer_chain",):
                continue
            assert not accepted(exchanged(case, other, parts), semantics), parts


@pytest.mark.parametrize("pair", list(itertools.permutations(GENUINE)), ids=str)
@BOTH
def test_no_single_part_of_another_real_case_makes_a_quote_of_another_family_verify(
    pair: tuple[str, str], semantics: Semantics
) -> None:
    case, other = (CASES[name] for name in pair)
    for part in ("pck_crl", "tcb_info"):
        assert not accepted(exchanged(case, other, (part,)), semantics), part


@pytest.mark.parametrize("pair", list(itertools.permutations(GENUINE)), ids=str)
def test_with_parts_of_another_real_case_strict_never_accepts_what_dcap_qvl_refuses(pair: tuple[str, str]) -> None:
    """Parts that are good for both (a root's CRL, a signer's chain) may be exchanged; nobody is deceived by that."""
    case, other = (CASES[name] for name in pair)
    for parts in exchanges():
        changed = exchanged(case, other, parts)
        ours, theirs = changed.judge(STRICT), changed.judge_by_dcap_qvl()
        assert not is_status(ours) or ours == theirs, parts


@BOTH
def test_a_quote_does_not_verify_with_another_quotes_halves(semantics: Semantics) -> None:
    one, other = evidence(), evidence("processor", initial())
    fields = ("header", "body", "signature", "attestation_key", "qe_report", "qe_report_signature")
    for size in range(1, len(fields)):
        for chosen in itertools.combinations(fields, size):
            taken: dict[str, Any] = {field: getattr(other.quote, field) for field in chosen}
            mixed = one.quote._replace(**taken)
            if mixed.encode() != one.quote.encode():  # both have the same header and report
                assert not accepted(one.but(quote=mixed).case(), semantics), chosen


BALANCED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("part", "name", "step"),
    [
        ("tcb_info", "tcbInfo", "tcb_info_signature: signature"),
        ("qe_identity", "enclaveIdentity", "qe_identity_signature: signature"),
    ],
)
@BOTH
@settings(max_examples=60, deadline=None)
@given(content=st.dictionaries(st.text("abcdef", max_size=3), BALANCED, max_size=3), cut=st.integers(0, 30))
def test_a_document_without_a_signature_that_holds_is_never_read_any_further(
    part: str, name: str, step: str, semantics: Semantics, content: dict[str, object], cut: int
) -> None:
    """Whatever is in it, even what is no JSON: what is told is the signature."""
    case = evidence().case()
    body = json.dumps(content, separators=(",", ":")).encode()
    nonsense = body.replace(b"true", b"tru").replace(b"1", b"1.e") if cut % 2 else body
    forged = write_signed(name, nonsense, bytes([cut + 1]) * 64)
    assert case._replace(collateral=case.collateral._replace(**{part: forged})).judge(semantics) == step


def test_a_document_signed_by_the_right_key_is_read_and_then_refused_for_its_content() -> None:
    """So the test above would see if content were read first."""
    made = evidence().with_tcb_info(lambda document: document.clear())
    assert made.case().judge() == "tcb_info_format: format"


def test_a_qe_report_without_a_signature_that_holds_is_never_read_any_further() -> None:
    made = evidence()
    wrong = ReportBody(b"\xff" * ReportBody.SIZE)
    forged = made.but(quote=made.quote._replace(qe_report=wrong, auth_data=b""))
    assert forged.case().judge() == "qe_report_signature: signature"


def test_an_attestation_key_that_is_no_point_is_refused() -> None:
    made = evidence()

    def certified(key: bytes) -> Evidence:
        digest = hashlib.sha256(key + made.quote.auth_data).digest()
        return made.but(quote=made.quote._replace(attestation_key=key)).with_qe_report(report_data=digest + bytes(32))

    beside = (int.from_bytes(made.quote.attestation_key) ^ 1).to_bytes(64)
    for key in (bytes(64), b"\xff" * 64, beside):
        assert certified(key).case().judge() == "quote_signature: format"
        assert not is_status(certified(key).case().judge_by_dcap_qvl())


@pytest.mark.parametrize("r", [0, 1])
@pytest.mark.parametrize("field", ["signature", "qe_report_signature"])
def test_signatures_of_zeros_never_hold(r: int, field: str) -> None:
    made = evidence()
    zeros: dict[str, Any] = {field: r.to_bytes(32) + bytes(32)}
    forged = made.but(quote=made.quote._replace(**zeros))
    assert forged.case().judge() == {"signature": "quote_signature", "qe_report_signature": "qe_report_signature"}[
        field
    ] + (": signature")
