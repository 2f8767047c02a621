from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from collateral_world import DAY, NOW, World
from quotehelper.collateral import proof, schema
from quotehelper.collateral.catalog import Key, Kind, PckSet, PlatformId, RawTcb, Registration
from quotehelper.collateral.database import Database
from quotehelper.collateral.store import NOT_AVAILABLE, REGISTERED, Store
from quotehelper.documents.pck import read_chain
from quotehelper.errors import ConfigError, SourceCause, SourceError

if TYPE_CHECKING:
    from pathlib import Path

OTHER_TCBM = "0F" * 16 + "0C00"


def pck_set(world: World, not_available: tuple[str, ...] = ()) -> PckSet:
    pem = read_chain(world.chain).leaf.pem()
    certificate = proof.prove_pck_certificate(pem, world.ca_chain, world.trust)
    return PckSet((certificate,), not_available)


def registration(world: World) -> Registration:
    return Registration(world.platform, world.raw_tcb, "AB" * 384, "")


def test_what_is_put_is_got_to_the_byte(store: Store, world: World) -> None:
    document = world.proven_tcb_info()
    assert store.put(document, NOW)
    assert store.get(document.key) == document


def test_what_was_never_put_is_none(store: Store) -> None:
    assert store.get(Key(Kind.TCB_INFO, "00" * 6, 4, "standard")) is None


def test_a_lower_evaluation_number_replaces_nothing(store: Store, world: World) -> None:
    kept = world.proven_tcb_info(number=17)
    store.put(kept, NOW)
    with pytest.raises(SourceError) as refused:
        store.put(world.proven_tcb_info(NOW + DAY, number=16), NOW + DAY)
    assert refused.value.cause is SourceCause.OLDER
    assert store.get(kept.key) == kept


def test_an_earlier_issue_of_the_same_number_replaces_nothing(store: Store, world: World) -> None:
    kept = world.proven_tcb_info(NOW)
    store.put(kept, NOW)
    with pytest.raises(SourceError) as refused:
        store.put(world.proven_tcb_info(NOW - DAY), NOW)
    assert refused.value.cause is SourceCause.OLDER
    assert "is kept" in str(refused.value)


def test_a_higher_evaluation_number_replaces_whatever_its_date(store: Store, world: World) -> None:
    store.put(world.proven_tcb_info(NOW, number=17), NOW)
    newer = world.proven_tcb_info(NOW - DAY, number=18)
    assert store.put(newer, NOW)
    assert store.get(newer.key) == newer


def test_of_two_revocation_lists_the_later_issue_stays(store: Store, world: World) -> None:
    """Their numbers are all 1, as Intel's are."""
    kept = world.proven_root_crl(NOW)
    store.put(kept, NOW)
    with pytest.raises(SourceError):
        store.put(world.proven_root_crl(NOW - DAY), NOW)
    later = world.proven_root_crl(NOW + DAY)
    assert store.put(later, NOW)
    assert store.get(kept.key) == later


def test_the_same_document_again_changes_nothing(store: Store, world: World) -> None:
    document = world.proven_tcb_info()
    store.put(document, NOW)
    assert not store.put(document, NOW + DAY)


def test_of_several_documents_all_are_put_or_none(store: Store, world: World) -> None:
    store.put(world.proven_tcb_info(number=17), NOW)
    crl = world.proven_root_crl()
    with pytest.raises(SourceError):
        store.put_all([crl, world.proven_tcb_info(number=3)], NOW)
    assert store.get(crl.key) is None


def test_holdings_name_every_document_and_its_ages(store: Store, world: World) -> None:
    documents = [world.proven_root_crl(), world.proven_tcb_info(), world.proven_tcb_info(version=3)]
    store.put_all(documents, NOW)
    held = store.holdings()
    assert {holding.key for holding in held} == {document.key for document in documents}
    assert {holding.next_update for holding in held} == {document.next_update for document in documents}
    assert {holding.stored_at for holding in held} == {NOW}


def test_a_platform_comes_back_with_its_certificates(store: Store, world: World) -> None:
    given = pck_set(world, (OTHER_TCBM,))
    store.put_platform(registration(world), given)
    assert store.pck_set(world.platform) == given
    platform = store.platform(world.platform)
    assert platform is not None
    assert (platform.fmspc, platform.ca, platform.registration.enc_ppid) == (world.fmspc, "PROCESSOR", "AB" * 384)


def test_platforms_are_listed_by_family(store: Store, world: World, other_world: World) -> None:
    for each in (world, other_world):
        store.put_platform(registration(each), pck_set(each))
    assert [platform.fmspc for platform in store.platforms([other_world.fmspc])] == [other_world.fmspc]
    assert len(store.platforms()) == 2


def test_a_decision_leads_to_the_certificate_and_its_chain(store: Store, world: World) -> None:
    chain = proof.prove_pck_chain(world.ca_chain, "PROCESSOR", world.trust)
    given = pck_set(world)
    store.put(chain, NOW)
    store.put_platform(registration(world), given)
    assert store.pck_answer(world.platform, world.raw_tcb) is None
    store.put_decision(world.platform, world.raw_tcb, given.certificates[0].tcb.tcbm)
    answer = store.pck_answer(world.platform, world.raw_tcb)
    assert answer is not None
    assert (answer.pem, answer.fmspc, answer.chain) == (given.certificates[0].pem, world.fmspc, chain.body)
    assert store.raw_tcbs(world.platform) == [world.raw_tcb]


def test_new_certificates_end_old_decisions(store: Store, world: World) -> None:
    store.put_platform(registration(world), pck_set(world))
    store.put_decision(world.platform, world.raw_tcb, OTHER_TCBM)
    store.put_platform(registration(world), pck_set(world))
    assert store.raw_tcbs(world.platform) == []


def test_a_platform_is_found_by_its_encrypted_ppid(store: Store, world: World) -> None:
    store.put_platform(registration(world), pck_set(world))
    assert store.find_platform("AB" * 384, "", "0000") == world.platform
    assert store.find_platform("AC" * 384, "", "0000") is None


def test_a_queue_is_emptied_by_taking_it_and_no_other_is(store: Store, world: World) -> None:
    first, second = registration(world), Registration(PlatformId("Q2", "0000"))
    store.enqueue(first, REGISTERED, NOW)
    store.enqueue(second, REGISTERED, NOW + DAY)
    store.enqueue(second, NOT_AVAILABLE, NOW)
    assert store.queued(REGISTERED) == [first, second]
    assert store.queued(REGISTERED, take=True) == [first, second]
    assert store.queued(REGISTERED) == []
    assert store.queued(NOT_AVAILABLE) == [second]


def test_who_registers_twice_waits_once(store: Store, world: World) -> None:
    store.enqueue(registration(world), REGISTERED, NOW)
    again = replace(registration(world), raw=RawTcb("00" * 16, "0100"))
    store.enqueue(again, REGISTERED, NOW + DAY)
    assert store.queued(REGISTERED) == [again]
    store.dequeue(world.platform, REGISTERED)
    assert store.queued(REGISTERED) == []


def test_a_refresh_is_remembered(store: Store) -> None:
    assert store.refreshed_at("collateral") == 0
    store.note_refresh("collateral", 1795523415.25, "ok")
    assert store.refreshed_at("collateral") == 1795523415.25


def test_another_process_sees_what_was_put(database_url: str, store: Store, world: World) -> None:
    store.put(world.proven_root_crl(), NOW)
    other = Store(database_url)
    assert other.migrations_run == 0
    assert len(other.holdings()) == 1
    other.close()


def test_many_starts_at_once_migrate_once(database_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: Store(database_url), range(8)))
    assert sum(store.migrations_run for store in stores) == len(schema.MIGRATIONS)
    for store in stores:
        store.close()


@pytest.mark.usefixtures("store")
def test_a_database_of_a_newer_program_is_refused(database_url: str) -> None:
    newer = Database(database_url)
    with newer.write() as connection:
        connection.execute(schema.version.insert().values(number=len(schema.MIGRATIONS) + 1))
    newer.close()
    with pytest.raises(ConfigError, match="this program knows"):
        Store(database_url)


@pytest.mark.usefixtures("store")
def test_the_migrations_make_the_tables_that_queries_are_written_against(database_url: str) -> None:
    database = Database(database_url)
    found = sa.inspect(database.engine)
    for table in schema.TABLES.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}
        assert set(found.get_pk_constraint(table.name)["constrained_columns"]) == {c.name for c in table.primary_key}
    database.close()


def test_writers_at_once_lose_nothing_and_roll_nothing_back(store: Store, world: World) -> None:
    offers = [world.proven_tcb_info(number=number) for number in range(10, 26)]

    def offer(number: int) -> bool:
        try:
            return store.put(offers[number], NOW)
        except SourceError:
            return False

    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(offer, range(len(offers))))
    assert stored[-1]
    kept = store.get(world.tcb_info_key())
    assert kept is not None
    assert kept.number == 25


def test_only_one_has_the_turn_to_refresh(database_url: str, store: Store) -> None:
    other = Store(database_url)
    with store.turn(1), pytest.raises(SourceError, match="another process"), other.turn(0.05):
        pass
    with other.turn(1):
        pass
    other.close()


def test_who_waits_for_the_turn_gets_it(database_url: str, store: Store) -> None:
    other, order = Store(database_url), []
    started = threading.Event()

    def wait() -> None:
        started.set()
        with other.turn(60):
            order.append("second")

    with store.turn(1):
        thread = threading.Thread(target=wait)
        thread.start()
        started.wait(60)
        order.append("first")
    thread.join(60)
    other.close()
    assert order == ["first", "second"]


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "nonsense://", "sqlite:////nowhere/to/be/found.db"])
def test_a_database_that_can_not_be_one_is_refused_with_a_remedy(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Store(url)
    assert refused.value.remedy


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as refused:
        Store(f"postgresql://user:secret@/name?host={tmp_path}")
    assert refused.value.cause is SourceCause.STORE
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(SourceError, match=r"store\.db"):
        Store(str(path))


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path, world: World) -> None:
    store = Store(str(tmp_path / "store.db"))
    store.put(world.proven_root_crl(), NOW)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()
