"""What is foreseen of a simulated platform's quotes, by collateral of its own authority, at moments near and far."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collateral_world import World
from quotehelper.collateral.proof import Trust
from quotehelper.documents.collateral import Collateral, parse_collateral
from quotehelper.node import outlook as outlooks
from quotehelper.node.outlook import DOCUMENTS, NOTICE, REMEDIES, TCB_STATUSES, UNKNOWN, foresee
from quotehelper.platforms.simulated.collateral_files import encode_collateral
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import Attributes
from quotehelper.verification.roots import Roots

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)


class Platform(NamedTuple):
    """A platform's quote, its fresh collateral, and who is trusted."""

    quote: bytes
    collateral: Collateral
    trust: Trust


@pytest.fixture(scope="module")
def platform(state: Path) -> Platform:
    world = World.of(state)
    enclave = load_cpu(state).load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    loaded = load(state)
    quote = loaded.quote(enclave.report(loaded.target(QE3_KEY_ID).target_info, bytes(64)), QE3_KEY_ID).quote
    files = encode_collateral(world.authority, world.state, world.chain, NOW)
    return Platform(quote, parse_collateral(files["collateral.json"]), world.trust)


def test_a_platform_that_is_up_to_date_has_no_trouble_and_all_its_documents_dated(platform: Platform) -> None:
    found = foresee(*platform, NOW)
    assert (found.status, found.troubles) == ("UpToDate", ())
    assert tuple(found.expires) == DOCUMENTS
    assert not list(found.ending(NOW))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_document_is_warned_of_at_its_notice_and_not_before(platform: Platform, document: str) -> None:
    found = foresee(*platform, NOW)
    notice_at = found.expires[document] - NOTICE[document]
    assert document not in set(found.ending(notice_at - DAY))
    assert document in set(found.ending(notice_at))
    assert document in set(found.ending(found.expires[document] + DAY))


def test_what_has_expired_is_still_dated_and_the_status_still_told(platform: Platform) -> None:
    found = foresee(*platform, NOW + 365 * DAY)
    assert found.status == "UpToDate"
    assert tuple(found.expires) == DOCUMENTS


@pytest.mark.parametrize(
    ("field", "document"),
    [("tcb_info", "tcb_info"), ("qe_identity", "qe_identity"), ("pck_crl", "pck_crl")],
)
def test_a_document_that_is_missing_hides_nothing_of_the_others(platform: Platform, field: str, document: str) -> None:
    found = foresee(platform.quote, platform.collateral._replace(**{field: b""}), platform.trust, NOW)
    assert found.expires.keys() == set(DOCUMENTS) - {document}
    assert found.status == UNKNOWN
    assert found.troubles


def test_what_another_root_stands_for_is_not_believed(platform: Platform) -> None:
    found = foresee(platform.quote, platform.collateral, Trust(Roots.intel()), NOW)
    assert (found.status, dict(found.expires)) == (UNKNOWN, {})
    assert found.troubles


def test_without_a_quote_the_platform_is_unknown_and_collateral_dated(platform: Platform) -> None:
    found = foresee(None, platform.collateral, platform.trust, NOW)
    assert (found.status, found.troubles) == (UNKNOWN, ())
    assert found.expires.keys() == set(DOCUMENTS) - {outlooks.PCK_CERTIFICATE}


def test_without_a_quote_a_chain_among_the_collateral_is_dated(platform: Platform, state: Path) -> None:
    collateral = platform.collateral._replace(pck_chain=World.of(state).chain)
    assert tuple(foresee(None, collateral, platform.trust, NOW).expires) == DOCUMENTS


def test_every_status_but_the_best_has_a_remedy() -> None:
    assert REMEDIES.keys() == set(TCB_STATUSES)
    assert [status for status, remedy in REMEDIES.items() if not remedy] == ["UpToDate"]


@given(st.sampled_from(Collateral._fields[:-1]), st.binary(max_size=64))
def test_whatever_is_served_is_told_not_raised(platform: Platform, field: str, content: bytes) -> None:
    found = foresee(platform.quote, platform.collateral._replace(**{field: content}), platform.trust, NOW)
    assert found.status == UNKNOWN or not found.troubles


@given(st.binary(max_size=64))
def test_whatever_the_quote_is_it_is_told_not_raised(platform: Platform, quote: bytes) -> None:
    found = foresee(quote, platform.collateral, platform.trust, NOW)
    assert (found.status, outlooks.TCB_INFO in found.expires) == (UNKNOWN, True)
