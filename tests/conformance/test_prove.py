"""What a daemon proves before it takes a socket over: what blocks, what only warns."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness import Daemon, run_cli
from quotehelper.aesm import messages as m
from quotehelper.conformance.judge import QuoteJudge
from quotehelper.conformance.oddities import STRANGE_KEY
from quotehelper.conformance.prove import Doubt, Obstacle, Proof, prove
from quotehelper.conformance.simulated import Means, means_of_state
from quotehelper.documents.pck import read_chain
from quotehelper.documents.signed_json import split_signed, write_signed
from quotehelper.documents.tcb_info import NAME, TcbStatus
from quotehelper.platforms.simulated import provisioning
from quotehelper.platforms.simulated import state as states
from quotehelper.platforms.simulated.enclaves import Qe3, encode_signature, qe3_identity
from quotehelper.platforms.simulated.platform import SimulatedPlatform
from quotehelper.sgx.quote import CertificationData, CertificationType
from quotehelper.verification.roots import Roots
from rogue import Altering, Fault, Rogue, changed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quotehelper.documents.collateral import Collateral
    from quotehelper.platforms.platform import Platform

NOW = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
"""After the platform has been made."""
LATER = NOW + dt.timedelta(days=90)
"""When collateral made now has expired; certificates have not."""


@pytest.fixture(scope="module")
def means(state: Path) -> Means:
    return means_of_state(state, NOW)


@pytest.fixture(scope="module")
def roots(state: Path) -> Roots:
    return Roots.insecure_simulated(read_chain(states.read_chain(state)).root.pem())


@pytest.fixture
def proof_of(state: Path, means: Means, tmp_path: Path) -> Callable[..., Proof]:
    """What a daemon with a fault, or over another platform, proves."""

    def run(fault: Fault | None = None, platform: Platform | None = None) -> Proof:
        path = tmp_path / "aesm.socket"
        with Rogue(path, platform or states.load(state), fault or Fault()):
            return prove(str(path), reporter=means.reporter, judge=means.judge)

    return run


def certified(directory: Path, certification: CertificationData) -> Platform:
    state = states.read_state(directory)
    qe = Qe3(state.cpu(), qe3_identity(*state.qe), state.provisioning_enclave(), state.pck_tcb, certification)
    return SimulatedPlatform(qe)


def obstacles(proof: Proof) -> set[Obstacle]:
    return {block.obstacle for block in proof.blocking}


def rated(directory: Path, status: TcbStatus) -> Collateral:
    """Collateral by which the platform's present level has ``status``, signed by its authority."""
    collateral = provisioning.collateral(directory, NOW)
    body, _ = split_signed(collateral.tcb_info, NAME)
    body = body.replace(b'"UpToDate"', f'"{status.value}"'.encode())
    key = load_pem_private_key((directory / "authority" / "tcb_signing.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = encode_signature(key.sign(body, ec.ECDSA(SHA256())))
    return collateral._replace(tcb_info=write_signed(NAME, body, signature))


def test_our_daemon_may_take_over(daemon: Daemon, means: Means) -> None:
    proof = prove(str(daemon.path), reporter=means.reporter, judge=means.judge)
    assert (proof.blocking, proof.warnings) == ((), ())
    assert proof.tcb_status is TcbStatus.UP_TO_DATE
    assert proof.quote_size_bytes is not None
    assert proof.quote_size_bytes <= 8192


def test_a_changed_quoting_enclave_is_no_reason(means: Means, state: Path, proof_of: Callable[..., Proof]) -> None:
    del means  # of the enclave before
    before = states.read_state(state)
    newer = before._replace(qe=states.EnclaveVersion(12, qe3_identity(12).mr_enclave))
    chain = CertificationData(CertificationType.PCK_CHAIN, states.read_chain(state))
    pce = newer.provisioning_enclave()
    proof = proof_of(platform=SimulatedPlatform(Qe3(newer.cpu(), qe3_identity(*newer.qe), pce, newer.pck_tcb, chain)))
    assert proof.blocking == ()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Altering(m.GetSupportedAttKeyIDsRequest, alter=lambda *_: m.GetSupportedAttKeyIDsResponse(0, STRANGE_KEY)),
         Obstacle.KEY_GONE),
        (Altering(m.InitQuoteExRequest, alter=lambda asked, _: m.InitQuoteExResponse.error(38, asked)),
         Obstacle.KEY_GONE),
        (Altering(m.GetQuoteExRequest, alter=lambda _, a: a if not a.quote else changed(
            a, quote=a.quote[:440] + bytes(4) + a.quote[444:])), Obstacle.NOT_GENUINE),
        (Altering(m.GetSupportedAttKeyIDNumRequest, alter=lambda *_: None), Obstacle.CLIENT_FAILS),
    ],
    ids=["ids without the key", "init refuses it", "signature", "num is not answered"],
)  # fmt: skip
def test_what_breaks_a_client_blocks(proof_of: Callable[..., Proof], fault: Fault, expected: Obstacle) -> None:
    proof = proof_of(fault)
    assert expected in obstacles(proof)
    assert all(block.remedy for block in proof.blocking)


def test_a_quote_too_large_for_gramine_blocks(proof_of: Callable[..., Proof], state: Path) -> None:
    chain = states.read_chain(state).rstrip(b"\0") + b"\n" * 4000
    proof = proof_of(platform=certified(state, CertificationData(CertificationType.PCK_CHAIN, chain)))
    assert obstacles(proof) == {Obstacle.QUOTE_TOO_LARGE, Obstacle.CLIENT_FAILS}
    assert "8192" in proof.blocking[-1].reason
    fits = states.read_chain(state) + b"\0" * (
        8192 - states.load(state).quote_size(states.load(state).attestation_keys()[0])
    )
    proof = proof_of(platform=certified(state, CertificationData(CertificationType.PCK_CHAIN, fits)))
    assert (proof.quote_size_bytes, proof.blocking) == (8192, ())


def test_quotes_without_a_chain_block(proof_of: Callable[..., Proof], state: Path) -> None:
    proof = proof_of(platform=certified(state, CertificationData(CertificationType.PPID_RSA_3072, bytes(404))))
    assert Obstacle.CERTIFICATION_TYPE in obstacles(proof)


def test_stale_collateral_only_warns(daemon: Daemon, means: Means, state: Path, roots: Roots) -> None:
    judge = QuoteJudge(roots=roots, collateral=provisioning.collateral(state, NOW), at=LATER)
    proof = prove(str(daemon.path), reporter=means.reporter, judge=judge)
    assert proof.blocking == ()
    assert [warned.doubt for warned in proof.warnings] == [Doubt.COLLATERAL]
    assert proof.tcb_status is TcbStatus.UP_TO_DATE, "it is still told, by what there is"


@pytest.mark.parametrize("lacking", [None, "tcb_info", "pck_crl", "qe_identity", "root_ca_crl"])
def test_absent_collateral_only_warns(
    daemon: Daemon, means: Means, state: Path, roots: Roots, lacking: str | None
) -> None:
    collateral = provisioning.collateral(state, NOW)._replace(**{lacking: b""}) if lacking else None
    judge = QuoteJudge(roots=roots, collateral=collateral, at=NOW)
    proof = prove(str(daemon.path), reporter=means.reporter, judge=judge)
    assert proof.blocking == ()
    assert [warned.doubt for warned in proof.warnings] == [Doubt.COLLATERAL]
    assert proof.tcb_status is None


def test_where_nobody_makes_a_report_that_is_told_and_blocks_nothing(daemon: Daemon, means: Means) -> None:
    proof = prove(str(daemon.path), reporter=None, judge=means.judge)
    assert (proof.blocking, proof.tcb_status) == ((), None)
    assert proof.quote_size_bytes, "its size can be asked for all the same"
    assert [warned.doubt for warned in proof.warnings] == [Doubt.NO_REPORT]


def test_a_worse_tcb_status_than_the_running_daemons_blocks(
    daemon: Daemon, means: Means, state: Path, roots: Roots
) -> None:
    judge = QuoteJudge(roots=roots, collateral=rated(state, TcbStatus.OUT_OF_DATE), at=NOW)
    proof = prove(str(daemon.path), reporter=means.reporter, judge=judge)
    assert (proof.blocking, proof.tcb_status) == ((), TcbStatus.OUT_OF_DATE)
    assert proof.against(None) == proof.against(TcbStatus.OUT_OF_DATE) == proof.against(TcbStatus.REVOKED) == proof
    assert obstacles(proof.against(TcbStatus.SW_HARDENING_NEEDED)) == {Obstacle.TCB_WORSE}


def test_a_revoked_tcb_level_blocks(daemon: Daemon, means: Means, state: Path, roots: Roots) -> None:
    judge = QuoteJudge(roots=roots, collateral=rated(state, TcbStatus.REVOKED), at=NOW)
    proof = prove(str(daemon.path), reporter=means.reporter, judge=judge)
    assert (obstacles(proof), proof.tcb_status) == ({Obstacle.TCB_REVOKED}, TcbStatus.REVOKED)


def test_nobody_there_blocks(means: Means, tmp_path: Path) -> None:
    proof = prove(str(tmp_path / "none"), reporter=means.reporter, judge=means.judge)
    assert Obstacle.CLIENT_FAILS in obstacles(proof)


def test_a_state_without_its_authority_is_judged_by_signatures(daemon: Daemon, state: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.mkdir(mode=0o700)
    for name in (states.PLATFORM_FILE, states.CHAIN_FILE):
        (node / name).write_bytes((state / name).read_bytes())
        (node / name).chmod(0o600)
    reporter, judge = means_of_state(node, NOW)
    proof = prove(str(daemon.path), reporter=reporter, judge=judge)
    assert proof.blocking == ()
    assert [warned.doubt for warned in proof.warnings] == [Doubt.COLLATERAL]


def test_the_command_says_what_blocks_and_what_warns(daemon: Daemon, state: Path) -> None:
    options = ("conformance", "--socket", str(daemon.path), "--quick")
    good = run_cli(*options, "--state", str(state))
    assert "Nothing stands against publishing this daemon" in good.stdout
    document = json.loads(run_cli(*options, "--state", str(state), "--json").stdout)
    assert (document["blocking"], document["warnings"]) == ([], [])
    assert document["quote_size_bytes"] <= 8192
    unjudged = run_cli(*options, "--json", check=False)
    assert unjudged.returncode == 3
    assert [told["doubt"] for told in json.loads(unjudged.stdout)["warnings"]] == ["no_report"]


def test_the_command_refuses_a_daemon_that_something_stands_against(state: Path, tmp_path: Path) -> None:
    path = tmp_path / "aesm.socket"
    chain = states.read_chain(state).rstrip(b"\0") + b"\n" * 4000
    with Rogue(path, certified(state, CertificationData(CertificationType.PCK_CHAIN, chain)), Fault()):
        done = run_cli("conformance", "--socket", str(path), "--state", str(state), "--quick", check=False)
    assert done.returncode == 1
    assert "blocking: quotes are larger than Gramine's buffer" in done.stdout
