"""A service that holds one simulated platform, offline; and the simulated authority as a PCS."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from collateral_world import DAY, World
from harness import run_cli
from pccs_process import Pccs, Served
from quotehelper.platforms.simulated import provisioning
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import AttributeFlags, Attributes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def live_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world of today: processes have the real clock."""
    return World.create(tmp_path_factory.mktemp("live") / "state", now=dt.datetime.now(dt.UTC) - DAY)


@pytest.fixture(scope="session")
def exported(live_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``simulate export-collateral`` writes for it."""
    out = tmp_path_factory.mktemp("exported") / "out"
    provisioning.export_collateral(live_world.state.directory, out, dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    return out


@pytest.fixture(scope="session")
def root(exported: Path) -> Path:
    return exported / "root.pem"


@pytest.fixture(scope="session")
def offline(exported: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pccs]:
    """A service in mode OFFLINE into whose store the command line has imported the platform; tests only read it."""
    database = str(tmp_path_factory.mktemp("offline") / "store.db")
    run_cli("pccs", "import", str(exported / "pccs.json"), "--db", database, "--insecure-simulated-root", str(root))
    with Pccs(database, "OFFLINE", root) as running:
        yield running
        assert running.process.poll() is None, running.lines


@pytest.fixture(scope="session")
def pcs(live_world: World) -> Iterator[Served]:
    """The simulated authority, served as a PCS."""
    state = str(live_world.state.directory)
    with Served("simulate", "serve-pcs", "--state", state, "--listen", "127.0.0.1:0") as running:
        yield running
        assert running.process.poll() is None, running.lines


def encrypted_ppid(world: World) -> str:
    return world.authority.encrypted_ppid(world.state.provisioning_enclave().ppid()).hex().upper()


@pytest.fixture(scope="session")
def pckcert_parameters(live_world: World) -> dict[str, str]:
    """What Intel's client asks for the platform's certificate with."""
    return {
        "qeid": live_world.platform.qe_id,
        "encrypted_ppid": encrypted_ppid(live_world),
        "cpusvn": live_world.raw_tcb.cpu_svn,
        "pcesvn": live_world.raw_tcb.pce_svn,
        "pceid": "0000",
    }


@pytest.fixture(scope="session")
def quote_of_ours(live_world: World) -> bytes:
    platform, cpu = load(live_world.state.directory), load_cpu(live_world.state.directory)
    attributes = Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=7)
    enclave = cpu.load(EnclaveIdentity(b"\xe1" * 32, b"\x51" * 32, attributes))
    report = enclave.report(platform.target(QE3_KEY_ID).target_info, b"\x07" * 64)
    return platform.quote(report, QE3_KEY_ID).quote


@pytest.fixture(scope="session")
def trusted(live_world: World) -> bytes:
    """The simulated root, DER."""
    return x509.load_pem_x509_certificate(live_world.root_pem).public_bytes(Encoding.DER)
