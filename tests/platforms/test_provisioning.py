from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotehelper.documents.pck import Role, read_chain
from quotehelper.documents.sgx_extension import SgxType
from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated import state as states
from quotehelper.platforms.simulated.authority import FILES
from quotehelper.platforms.simulated.enclaves import encode_point, qe3_identity
from quotehelper.platforms.simulated.provisioning import export_collateral, init, update_qe
from quotehelper.platforms.simulated.state import load, read_state
from quotehelper.sgx.key_id import QE3_KEY_ID

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    init(tmp_path / "state", NOW)
    return tmp_path / "state"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_new_platform_is_read_as_it_was_made(tmp_path: Path) -> None:
    made = init(tmp_path / "state", NOW)
    assert read_state(tmp_path / "state") == made


def test_a_new_platform_holds_these_files_and_no_other(directory: Path) -> None:
    authority = {f"authority/{name}" for name in (*FILES, "settings.json")}
    assert contents(directory).keys() == {"platform.json", "pck_chain.pem", *authority}
    assert list(directory.parent.iterdir()) == [directory]


def test_a_new_platform_is_open_to_its_owner_only(directory: Path) -> None:
    made = [directory, *directory.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


def test_the_certificate_is_for_the_key_that_the_pce_derives(directory: Path) -> None:
    state = read_state(directory)
    leaf = read_chain(states.read_chain(directory)).leaf
    derived = state.provisioning_enclave().pck_public_key(state.pck_tcb)
    assert encode_point(leaf.public_key) == encode_point(derived)


@pytest.mark.parametrize(
    ("ca", "role", "sgx_type"),
    [("processor", Role.PROCESSOR_CA, SgxType.STANDARD), ("platform", Role.PLATFORM_CA, SgxType.SCALABLE)],
)
def test_the_certificate_says_what_the_platform_is(tmp_path: Path, ca: str, role: Role, sgx_type: SgxType) -> None:
    state = init(tmp_path / "state", NOW, ca=ca)
    chain = read_chain(states.read_chain(tmp_path / "state"))
    said = chain.leaf.sgx_extension
    assert [certificate.role for certificate in chain.certificates] == [Role.PCK, role, Role.ROOT]
    assert said.ppid == state.provisioning_enclave().ppid()
    assert (bytes(said.components), said.cpu_svn, said.pce_svn) == (state.cpu_svn, state.cpu_svn, 13)
    assert (said.fmspc, said.pce_id, said.sgx_type) == (state.fmspc, bytes(2), sgx_type)
    assert (said.configuration is None) == (ca == "processor")


def test_the_certification_data_ends_with_intels_nul(directory: Path) -> None:
    assert states.read_chain(directory).endswith(b"-----END CERTIFICATE-----\n\0")


def test_two_platforms_have_nothing_secret_in_common(tmp_path: Path) -> None:
    one, other = init(tmp_path / "one", NOW), init(tmp_path / "other", NOW)
    assert one.secret != other.secret
    shared = set(contents(tmp_path / "one").values()) & set(contents(tmp_path / "other").values())
    assert shared == {
        (tmp_path / "one" / "authority" / name).read_bytes() for name in ("crl_base_url", "settings.json")
    }


def test_the_quoting_enclave_is_a_setting(tmp_path: Path) -> None:
    init(tmp_path / "state", NOW, qe_isv_svn=8, qe_mr_enclave=b"\x08" * 32)
    assert read_state(tmp_path / "state").qe == (8, b"\x08" * 32)
    assert load(tmp_path / "state").target(QE3_KEY_ID).target_info.mr_enclave == b"\x08" * 32


def test_what_is_there_is_never_overwritten(directory: Path) -> None:
    before = contents(directory)
    with pytest.raises(ConfigError, match="is there already"):
        init(directory, NOW)
    assert contents(directory) == before


@pytest.mark.parametrize("settings", [{"ca": "root"}, {"qe_isv_svn": 1 << 16}, {"qe_mr_enclave": bytes(31)}], ids=str)
def test_a_platform_that_cannot_be_is_not_made(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        init(tmp_path / "state", NOW, **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def _init_until(step: int, directory: Path) -> None:
    """Make a platform; the kernel takes the process away before the ``step``-th act that the interpreter tells of."""
    left = step

    def watch(event: str, _arguments: object) -> None:
        nonlocal left
        if event in {"open", "os.mkdir", "os.rename", "os.chmod", "fcntl.flock", "os.remove", "os.rmdir"}:
            if left == 0:
                os.kill(os.getpid(), 9)
            left -= 1

    sys.addaudithook(watch)
    init(directory, NOW)
    os._exit(0)


def test_a_platform_killed_in_the_making_is_whole_or_not_there(tmp_path: Path) -> None:
    left: list[bool] = []
    while True:
        directory = tmp_path / str(len(left)) / "state"
        process = FORK.Process(target=_init_until, args=(len(left), directory))
        process.start()
        process.join()
        left.append(directory.exists())
        if directory.exists():
            load(directory)
        else:
            init(directory, NOW)
        assert list(directory.parent.iterdir()) == [directory]
        if process.exitcode == 0:
            break
    assert left == sorted(left)
    assert left.count(False) > len(FILES)


def test_a_second_node_names_the_first_nodes_authority_and_copies_no_key(tmp_path: Path, directory: Path) -> None:
    second = init(tmp_path / "second", NOW, authority=directory)
    third = init(tmp_path / "third", NOW, authority=tmp_path / "second", ca="platform")
    assert second.authority == third.authority == directory / "authority"
    assert contents(tmp_path / "third").keys() == {"platform.json", "pck_chain.pem"}
    roots = {
        read_chain(states.read_chain(each)).root.der for each in (directory, tmp_path / "second", tmp_path / "third")
    }
    assert len(roots) == 1


def test_an_authority_named_by_a_relative_path_is_found_from_everywhere(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory.parent)
    init(Path("second"), NOW, authority=Path("state"))
    monkeypatch.chdir("/")
    export_collateral(tmp_path / "second", tmp_path / "out", NOW)
    assert (tmp_path / "out" / "root.pem").read_bytes() == (directory / "authority" / "root.pem").read_bytes()


def test_quoting_needs_no_authority(tmp_path: Path, directory: Path) -> None:
    directory.joinpath("authority").rename(tmp_path / "away")
    load(directory)
    with pytest.raises(ConfigError, match=f"There is no directory {directory}/authority"):
        export_collateral(directory, tmp_path / "out", NOW)


def test_an_authority_open_to_others_is_refused(tmp_path: Path, directory: Path) -> None:
    (directory / "authority" / "root.key").chmod(0o640)
    with pytest.raises(ConfigError, match=f"chmod 0600 {directory}/authority/root.key"):
        export_collateral(directory, tmp_path / "out", NOW)


@pytest.mark.parametrize("name", FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(raw=st.binary(max_size=100).map(lambda raw: raw + b"\xff"))
def test_a_damaged_authority_is_told_by_file(tmp_path: Path, directory: Path, name: str, raw: bytes) -> None:
    path = directory / "authority" / name
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=f"{path.with_suffix('')}.* is damaged: "):
        init(tmp_path / "second", NOW, authority=directory)
    assert not (tmp_path / "second").exists()


def test_keys_of_two_authorities_do_not_mix(tmp_path: Path, directory: Path) -> None:
    init(tmp_path / "other", NOW)
    for name in FILES:
        if name.endswith(".key"):
            (tmp_path / "other" / "authority" / name).replace(directory / "authority" / name)
    with pytest.raises(ConfigError, match="do not belong together"):
        export_collateral(directory, tmp_path / "out", NOW)


def test_a_qe_update_changes_the_qe_and_nothing_else(directory: Path) -> None:
    before, files = read_state(directory), contents(directory)
    updated = update_qe(directory, 12)
    assert updated == before._replace(qe=updated.qe) == read_state(directory)
    assert updated.qe == (12, qe3_identity(12).mr_enclave)
    files.pop("platform.json")
    assert contents(directory).items() >= files.items()
    assert len(contents(directory)) == len(files) + 1


def test_a_qe_update_makes_a_new_attestation_key_and_target(directory: Path) -> None:
    before = load(directory).target(QE3_KEY_ID)
    update_qe(directory, 12, b"\x0c" * 32)
    after = load(directory).target(QE3_KEY_ID)
    assert after.target_info.mr_enclave == b"\x0c" * 32
    assert after.public_key_id != before.public_key_id


@pytest.mark.parametrize("call", [lambda at: update_qe(at, 1 << 16), lambda at: update_qe(at, 12, bytes(33))])
def test_an_impossible_qe_update_changes_nothing(directory: Path, call: Callable[[Path], object]) -> None:
    before = contents(directory)
    with pytest.raises(ConfigError):
        call(directory)
    assert contents(directory) == before


def _update_often(directory: Path, versions: range) -> None:
    for isv_svn in versions:
        update_qe(directory, isv_svn)


def test_updates_and_loads_at_the_same_time_always_see_a_whole_platform(directory: Path) -> None:
    updaters = [FORK.Process(target=_update_often, args=(directory, range(n, 200, 2))) for n in (1, 2)]
    for updater in updaters:
        updater.start()
    while any(updater.is_alive() for updater in updaters):
        assert read_state(directory).qe.isv_svn in range(1, 200)
    for updater in updaters:
        updater.join()
        assert updater.exitcode == 0


def test_collateral_is_not_written_over_anything(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ConfigError, match="out is there already"):
        export_collateral(directory, tmp_path / "out", NOW)
    assert contents(tmp_path / "out") == {"mine": b""}
