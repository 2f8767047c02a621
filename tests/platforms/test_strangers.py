"""Somebody else's verifier, given the simulated root, accepts our quotes, and none that was touched."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from quotehelper.platforms.simulated import provisioning
from quotehelper.platforms.simulated.cpu import Cpu, EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo
from quotehelper.sgx.report import AttributeFlags, Attributes

if TYPE_CHECKING:
    from pathlib import Path

    from quotehelper.platforms.simulated.platform import SimulatedPlatform

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
VARIANTS = [(ca, isv_svn) for ca in ("processor", "platform") for isv_svn in (8, 11)]
SIGNED = [*range(432), *range(436, 1012), *range(1014, 1046)]
"""Header and body; signature, key, QE report and its signature; auth data, bound by a hash in the QE report."""


class Node(NamedTuple):
    platform: SimulatedPlatform
    cpu: Cpu
    root: bytes
    collateral: dcap_qvl.QuoteCollateralV3

    def quote(self, report_data: bytes, identity: EnclaveIdentity, info: QeReportInfo | None = None) -> bytes:
        target = self.platform.target(QE3_KEY_ID).target_info
        return self.platform.quote(self.cpu.load(identity).report(target, report_data), QE3_KEY_ID, info).quote

    def verify(self, quote: bytes, at: dt.datetime = NOW) -> str:
        verified = dcap_qvl.verify_with_root_ca(quote, self.collateral, self.root, int(at.timestamp()))
        return str(verified.status)


def make_node(directory: Path, *, ca: str, isv_svn: int, authority: Path | None = None) -> Node:
    state, out = directory / "state", directory / "collateral"
    provisioning.init(state, NOW, ca=ca, qe_isv_svn=isv_svn, authority=authority)
    provisioning.export_collateral(state, out, NOW)
    root = x509.load_pem_x509_certificate((out / "root.pem").read_bytes()).public_bytes(Encoding.DER)
    collateral = dcap_qvl.QuoteCollateralV3.from_json((out / "collateral.json").read_text())
    return Node(load(state), load_cpu(state), root, collateral)


def app(**changes: int | bytes) -> EnclaveIdentity:
    attributes = Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=7)
    return EnclaveIdentity(b"\xe1" * 32, b"\x51" * 32, attributes)._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: "{}-qe{}".format(*variant))
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Node:
    ca, isv_svn = request.param
    return make_node(tmp_path_factory.mktemp("node"), ca=ca, isv_svn=isv_svn)


@pytest.mark.parametrize(
    ("report_data", "identity"),
    [
        (bytes(64), app()),
        (b"\xff" * 64, app(isv_prod_id=0xFFFF, isv_svn=0xFFFF, misc_select=1)),
        (bytes(range(64)), app(mr_enclave=bytes(32), mr_signer=b"\xff" * 32, config_id=b"\x01" * 64, config_svn=2)),
    ],
    ids=["plain", "high versions", "every field"],
)
def test_a_quote_is_up_to_date(node: Node, report_data: bytes, identity: EnclaveIdentity) -> None:
    assert node.verify(node.quote(report_data, identity)) == "UpToDate"


def test_a_quote_asked_for_with_a_nonce_is_up_to_date(node: Node) -> None:
    info = QeReportInfo.build(nonce=b"n" * 16, app_enclave_target_info=node.cpu.load(app()).target)
    assert node.verify(node.quote(bytes(64), app(), info)) == "UpToDate"


def test_a_quote_by_a_restarted_daemon_is_up_to_date_with_the_old_collateral(tmp_path: Path) -> None:
    node = make_node(tmp_path, ca="processor", isv_svn=11)
    restarted = node._replace(platform=load(tmp_path / "state"))
    assert restarted.verify(restarted.quote(bytes(64), app())) == "UpToDate"


def test_many_quotes_are_up_to_date(node: Node) -> None:
    quotes = [node.quote(number.to_bytes(64, "big"), app()) for number in range(100)]
    assert {node.verify(quote) for quote in quotes} == {"UpToDate"}


def test_a_quote_is_refused_when_any_signed_byte_is_changed(node: Node) -> None:
    genuine = node.quote(bytes(range(64)), app())
    for at in SIGNED:
        quote = bytearray(genuine)
        quote[at] ^= 1 << at % 8
        with pytest.raises(ValueError, match=r"."):
            node.verify(bytes(quote))
    assert node.verify(genuine) == "UpToDate"


def test_a_debug_enclave_is_refused(node: Node) -> None:
    debug = app()._replace(attributes=Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.DEBUG, xfrm=3))
    with pytest.raises(ValueError, match=r"(?i)debug"):
        node.verify(node.quote(bytes(64), debug))


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_nodes_that_share_an_authority_share_root_and_collateral(tmp_path: Path, ca: str) -> None:
    first = make_node(tmp_path / "first", ca=ca, isv_svn=11)
    second = make_node(tmp_path / "second", ca=ca, isv_svn=11, authority=tmp_path / "first" / "state")
    assert second.root == first.root
    quote = second.quote(bytes(64), app())
    assert first.verify(quote) == second.verify(quote) == "UpToDate"


def test_another_authoritys_root_refuses(tmp_path: Path) -> None:
    first = make_node(tmp_path / "first", ca="processor", isv_svn=11)
    second = make_node(tmp_path / "second", ca="processor", isv_svn=11)
    with pytest.raises(ValueError, match=r"."):
        second.verify(first.quote(bytes(64), app()))
    with pytest.raises(ValueError, match=r"."):
        first._replace(root=second.root).verify(first.quote(bytes(64), app()))


def test_a_qe_update_keeps_the_platform_verifiable(tmp_path: Path) -> None:
    before = make_node(tmp_path, ca="processor", isv_svn=8)
    provisioning.update_qe(tmp_path / "state", 11)
    after = before._replace(platform=load(tmp_path / "state"))
    assert after.platform.target(QE3_KEY_ID) != before.platform.target(QE3_KEY_ID)
    assert after.verify(after.quote(bytes(64), app())) == "UpToDate"
