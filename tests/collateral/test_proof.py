from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collateral_world import DAY, NOW, RECORDED, World, intel_root_crl, recorded
from quotehelper.collateral import proof
from quotehelper.collateral.catalog import EARLY, STANDARD, Document, Key, Kind
from quotehelper.documents.pck import read_chain
from quotehelper.errors import SourceCause, SourceError
from quotehelper.platforms.simulated import provisioning
from quotehelper.verification.roots import Roots

INTEL = proof.Trust(Roots.intel())


def text(answer: dict[str, Any]) -> bytes:
    (found,) = (value for name, value in answer.items() if name.endswith("_json"))
    return str(found).encode()


def prove_recorded(name: str, update: str = STANDARD) -> Document:
    answer = recorded(name)
    chain = answer["issuer_chain"].encode()
    return proof.prove_tcb_info(text(answer), chain, intel_root_crl(), INTEL, update=update)


@pytest.mark.parametrize(
    ("name", "update", "version", "number"),
    [
        ("sgx_tcb_info_v3", STANDARD, 3, 17),
        ("sgx_tcb_info_00906ED50000", STANDARD, 4, 17),
        ("sgx_tcb_info_early", EARLY, 4, 19),
    ],
)
def test_intels_recorded_tcb_info_is_proven_and_named(name: str, update: str, version: int, number: int) -> None:
    document = prove_recorded(name, update)
    assert document.key == Key(Kind.TCB_INFO, "00906ED50000", version, update)
    assert document.number == number
    assert document.body == text(recorded(name))
    proof.check_current(document, RECORDED)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgx_qe_identity", Kind.QE_IDENTITY),
        ("sgx_qe_identity_v3", Kind.QE_IDENTITY),
        ("sgx_qve_identity", Kind.QVE_IDENTITY),
        ("sgx_qae_identity", Kind.QAE_IDENTITY),
    ],
)
def test_intels_recorded_identities_are_proven(name: str, kind: Kind) -> None:
    answer = recorded(name)
    document = proof.prove_identity(
        text(answer),
        answer["issuer_chain"].encode(),
        intel_root_crl(),
        INTEL,
        kind=kind,
        version=4,
        update=STANDARD,
    )
    assert document.key.kind is kind
    assert document.number == 17


def test_intels_recorded_evaluation_numbers_are_proven() -> None:
    answer = recorded("sgx_tcb_eval_nums")
    document = proof.prove_evaluation_numbers(text(answer), answer["issuer_chain"].encode(), intel_root_crl(), INTEL)
    assert document.issued_at < RECORDED < document.next_update


@pytest.mark.parametrize(("name", "ca"), [("pck_crl_processor", "PROCESSOR"), ("pck_crl_platform", "PLATFORM")])
def test_intels_recorded_revocation_lists_are_proven_by_their_own_ca_alone(name: str, ca: str) -> None:
    answer = recorded(name)
    crl, chain = answer["crl_data"].encode(), answer["issuer_chain"].encode()
    assert proof.prove_pck_crl(crl, chain, ca, INTEL).key == Key(Kind.PCK_CRL, ca)
    other = "PLATFORM" if ca == "PROCESSOR" else "PROCESSOR"
    with pytest.raises(SourceError):
        proof.prove_pck_crl(crl, chain, other, INTEL)


def test_the_roots_revocation_list_is_called_by_its_distribution_point() -> None:
    chain = recorded("sgx_qe_identity")["issuer_chain"].encode()
    document = proof.prove_root_crl(intel_root_crl(), chain, INTEL)
    assert document.key.subject == "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    assert proof.root_crl_uri(chain, INTEL) == document.key.subject


def test_a_pck_certificate_says_its_tcb_family_and_ca(other_world: World) -> None:
    leaf = read_chain(other_world.chain).leaf.pem()
    certificate = proof.prove_pck_certificate(leaf, other_world.ca_chain, other_world.trust)
    assert (certificate.fmspc, certificate.ca) == (other_world.fmspc, "PLATFORM")
    assert certificate.tcb.components == tuple(other_world.state.pck_tcb.cpu_svn)
    assert certificate.tcb.pce_svn_number == other_world.state.pck_tcb.pce_svn


def test_what_another_authority_signed_is_not_proven(world: World, other_world: World) -> None:
    crl = other_world.root_crl()
    with pytest.raises(SourceError) as refused:
        proof.prove_tcb_info(other_world.tcb_info(), other_world.signers, crl, world.trust, update=STANDARD)
    assert refused.value.cause is SourceCause.UNPROVEN
    with pytest.raises(SourceError):
        proof.prove_root_crl(crl, other_world.signers, world.trust)
    with pytest.raises(SourceError):
        proof.prove_pck_chain(other_world.ca_chain, "PLATFORM", world.trust)


def test_one_changed_digit_is_noticed(world: World) -> None:
    changed = world.tcb_info().replace(b'"tcbEvaluationDataNumber":17', b'"tcbEvaluationDataNumber":18')
    with pytest.raises(SourceError, match="signature does not hold"):
        proof.prove_tcb_info(changed, world.signers, world.root_crl(), world.trust, update=STANDARD)


def test_another_families_tcb_info_is_not_what_was_asked_for(world: World) -> None:
    with pytest.raises(SourceError) as refused:
        proof.prove_tcb_info(
            world.tcb_info(), world.signers, world.root_crl(), world.trust, update=STANDARD, fmspc="00" * 6
        )
    assert refused.value.cause is SourceCause.MALFORMED


def test_the_verifying_enclaves_identity_is_not_the_quoting_enclaves(world: World) -> None:
    with pytest.raises(SourceError) as refused:
        proof.prove_identity(
            world.identity(enclave="QVE"),
            world.signers,
            world.root_crl(),
            world.trust,
            kind=Kind.QE_IDENTITY,
            version=4,
            update=STANDARD,
        )
    assert refused.value.cause is SourceCause.MALFORMED


def test_certificates_of_two_platforms_are_no_set(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    twin_directory = tmp_path_factory.mktemp("twin") / "state"
    provisioning.init(twin_directory, NOW, authority=world.state.directory)
    twin = World.of(twin_directory)
    pairs: list[tuple[str, bytes | None]] = [("", read_chain(each.chain).leaf.pem()) for each in (world, twin)]
    assert len(proof.make_set(pairs[:1], world.ca_chain, "0000", world.trust).certificates) == 1
    with pytest.raises(SourceError, match="different platforms"):
        proof.make_set(pairs, world.ca_chain, "0000", world.trust)
    with pytest.raises(SourceError, match="different platforms"):
        proof.make_set(pairs[:1], world.ca_chain, "0100", world.trust)


def test_what_has_expired_or_is_not_yet_issued_is_not_current(world: World) -> None:
    document = world.proven_tcb_info()
    proof.check_current(document, NOW + 29 * DAY)
    for moment in (NOW + 31 * DAY, NOW - DAY):
        with pytest.raises(SourceError) as refused:
            proof.check_current(document, moment)
        assert refused.value.cause is SourceCause.STALE


def test_a_ppid_does_not_show(world: World) -> None:
    certificate = proof.prove_pck_certificate(read_chain(world.chain).leaf.pem(), world.ca_chain, world.trust)
    assert certificate.ppid.hex() not in repr(certificate).lower()


def test_a_pck_certificate_whose_components_are_not_its_cpu_svn_is_refused(world: World) -> None:
    said = read_chain(world.chain).leaf.sgx_extension
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    chain = world.authority.issue_pck(key, replace(said, cpu_svn=bytes(16)), "processor", NOW)
    with pytest.raises(SourceError, match="does not equal the components"):
        proof.prove_pck_certificate(read_chain(chain).leaf.pem(), world.ca_chain, world.trust)
