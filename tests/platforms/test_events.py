"""Events on disk: shared by all nodes of an authority, kept whole, and undone by an update or a reset."""

from __future__ import annotations

import datetime as dt
import functools
import multiprocessing
import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from quotehelper.documents.pck import read_chain
from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated import events, provisioning
from quotehelper.platforms.simulated import state as states
from quotehelper.platforms.simulated.enclaves import PCE_ISV_SVN, encode_point
from quotehelper.platforms.simulated.ruling import change_settings, describe_settings, read_settings
from quotehelper.platforms.simulated.settings import Condition, Document, Subject, expire, initial
from quotehelper.platforms.simulated.state import load, read_state
from quotehelper.sgx.key_id import QE3_KEY_ID

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["processor", "platform"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    provisioning.init(tmp_path / "state", NOW, ca=request.param)
    return tmp_path / "state"


def status(directory: Path) -> str | None:
    told: str | None = describe_settings(read_state(directory))["tcb_status"]
    return told


def test_settings_are_made_with_the_authority_and_open_to_its_owner_only(directory: Path) -> None:
    path = directory / "authority" / "settings.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_settings(directory / "authority") == initial()
    events.expire(directory, Document)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_authority_from_before_there_were_settings_has_the_initial_ones(directory: Path) -> None:
    (directory / "authority" / "settings.json").unlink()
    assert read_settings(directory / "authority") == initial()
    events.change_level(directory, Subject.PLATFORM, Condition.REVOKED)
    assert status(directory) == "Revoked"


def test_all_nodes_of_an_authority_share_what_it_says(directory: Path, tmp_path: Path) -> None:
    provisioning.init(tmp_path / "second", NOW, authority=directory)
    provisioning.init(tmp_path / "alone", NOW)
    events.recover_tcb(tmp_path / "second", NOW)
    assert [status(at) for at in (directory, tmp_path / "second", tmp_path / "alone")] == [
        "OutOfDate",
        "OutOfDate",
        "UpToDate",
    ]
    provisioning.update_platform(directory, NOW)
    assert [status(at) for at in (directory, tmp_path / "second")] == ["UpToDate", "OutOfDate"]


def test_an_update_raises_microcode_and_pce_and_certifies_the_new_key(directory: Path) -> None:
    before = read_state(directory)
    events.recover_tcb(directory, NOW)
    events.recover_tcb(directory, NOW)
    updated = provisioning.update_platform(directory, NOW)
    assert updated == read_state(directory)
    assert updated.cpu_svn == updated.pck_tcb.cpu_svn == b"\x12" + before.cpu_svn[1:]
    assert (updated.pck_tcb.pce_svn, updated.pce.isv_svn) == (15, PCE_ISV_SVN + 2)
    assert updated.pce.mr_enclave != before.pce.mr_enclave
    assert (updated.secret, updated.fmspc, updated.qe) == (before.secret, before.fmspc, before.qe)
    leaf = read_chain(states.read_chain(directory)).leaf
    assert encode_point(leaf.public_key) == encode_point(updated.provisioning_enclave().pck_public_key(updated.pck_tcb))
    assert bytes(leaf.sgx_extension.components) == updated.cpu_svn


def test_an_update_keeps_what_identifies_the_platform(directory: Path) -> None:
    before = provisioning.read_leaf(directory).sgx_extension
    qe_id = read_state(directory).qe_id()
    events.recover_tcb(directory, NOW)
    provisioning.update_platform(directory, NOW)
    after = provisioning.read_leaf(directory).sgx_extension
    assert (after.ppid, after.configuration) == (before.ppid, before.configuration)
    assert read_state(directory).qe_id() == qe_id


def test_an_update_makes_a_new_attestation_key(directory: Path) -> None:
    before = load(directory).target(QE3_KEY_ID).public_key_id
    events.recover_tcb(directory, NOW)
    provisioning.update_platform(directory, NOW)
    assert load(directory).target(QE3_KEY_ID).public_key_id != before


def test_an_update_without_need_only_certifies_anew(directory: Path) -> None:
    before, leaf = read_state(directory), provisioning.read_leaf(directory)
    updated = provisioning.update_platform(directory, NOW)
    assert updated._replace(chain=before.chain) == before
    assert provisioning.read_leaf(directory).serial_number != leaf.serial_number


def test_an_update_leaves_one_chain(directory: Path) -> None:
    for _ in range(3):
        provisioning.update_platform(directory, NOW)
    (chain,) = directory.glob("pck_chain*")
    assert chain.name == read_state(directory).chain


def test_an_update_to_what_is_current_after_a_reset_lowers_nothing(directory: Path) -> None:
    events.recover_tcb(directory, NOW)
    updated = provisioning.update_platform(directory, NOW)
    events.reset(directory)
    assert status(directory) == "UpToDate"
    assert provisioning.update_platform(directory, NOW)._replace(chain=updated.chain) == updated


def _update_until(step: int, directory: Path) -> None:
    """Update; the kernel takes the process away before the ``step``-th act that the interpreter tells of."""
    left = step

    def watch(event: str, _arguments: object) -> None:
        nonlocal left
        if event in {"open", "os.rename", "os.remove", "fcntl.flock"}:
            if left == 0:
                os.kill(os.getpid(), 9)
            left -= 1

    sys.addaudithook(watch)
    provisioning.update_platform(directory, NOW)
    os._exit(0)


def test_a_platform_killed_while_it_is_updated_quotes_as_before_or_as_after(tmp_path: Path) -> None:
    directory, step, exit_code = tmp_path / "state", 0, None
    provisioning.init(directory, NOW)
    while exit_code != 0:
        events.recover_tcb(directory, NOW)
        process = FORK.Process(target=_update_until, args=(step, directory))
        process.start()
        process.join()
        step, exit_code = step + 1, process.exitcode
        load(directory)
    assert step > 10
    provisioning.update_platform(directory, NOW)
    assert len(list(directory.iterdir())) == 3, "state, chain, authority"


def _update_often(directory: Path, times: int) -> None:
    for _ in range(times):
        provisioning.update_platform(directory, NOW)


def test_a_platform_loaded_while_it_is_updated_is_whole(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    provisioning.init(directory, NOW)
    updater = FORK.Process(target=_update_often, args=(directory, 30))
    updater.start()
    while updater.is_alive():
        load(directory)
    updater.join()
    assert updater.exitcode == 0


def _expire_often(authority: Path, documents: list[Document]) -> None:
    for document in documents:
        change_settings(authority, functools.partial(expire, documents=[document]))


def test_of_changes_at_the_same_time_each_is_made(directory: Path) -> None:
    authority = directory / "authority"
    workers = [FORK.Process(target=_expire_often, args=(authority, [document])) for document in Document]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert read_settings(authority).expired == frozenset(Document)


def test_an_impossible_event_changes_nothing(directory: Path) -> None:
    before = (directory / "authority" / "settings.json").read_bytes()
    with pytest.raises(ConfigError):
        events.recover_tcb(directory, NOW, ["no advisory"])
    assert (directory / "authority" / "settings.json").read_bytes() == before


def test_damaged_settings_are_told_by_file_and_field(directory: Path) -> None:
    path = directory / "authority" / "settings.json"
    path.write_bytes(b'{"version": 1}')
    told = f"{path} is damaged: tcb_evaluation_data_number: missing"
    with pytest.raises(ConfigError, match=told):
        events.expire(directory, Document)
    with pytest.raises(ConfigError, match=told):
        provisioning.update_platform(directory, NOW)


def test_settings_open_to_others_are_refused(directory: Path) -> None:
    (directory / "authority" / "settings.json").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 0600"):
        events.expire(directory, Document)


def test_a_qe_release_is_newer_than_the_platforms_and_undone_by_an_update(directory: Path) -> None:
    events.release_qe(directory, NOW)
    assert status(directory) == "OutOfDate"
    assert read_settings(directory / "authority").qe_levels[0].tcb.pce_svn == 12
    provisioning.update_qe(directory, 12)
    assert status(directory) == "UpToDate"
