"""A simulated authority as the source of genuine documents of every age, and real databases to keep them in."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from harness import DEADLINE_S, VECTORS
from quotehelper.collateral import proof
from quotehelper.collateral.catalog import STANDARD, Key, Kind, PlatformId, RawTcb
from quotehelper.documents.pck import Role, read_chain
from quotehelper.documents.qe_identity import encode_enclave_identity, parse_enclave_identity
from quotehelper.documents.signed_json import write_signed
from quotehelper.documents.tcb_info import as_version_2, encode_tcb_info, parse_tcb_info
from quotehelper.platforms.simulated import authority as authorities
from quotehelper.platforms.simulated import private_files, provisioning
from quotehelper.platforms.simulated.enclaves import encode_signature
from quotehelper.platforms.simulated.state import PlatformState, read_state
from quotehelper.platforms.simulated.state import read_chain as read_certification
from quotehelper.verification.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quotehelper.collateral.catalog import Document

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
RECORDED = dt.datetime(2025, 5, 28, tzinfo=dt.UTC)
"""When the recorded answers of Intel's service were valid."""
_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@dataclass(frozen=True)
class World:
    """One simulated platform and the authority that certified it."""

    state: PlatformState
    authority: authorities.Authority
    chain: bytes

    @classmethod
    def create(cls, directory: Path, ca: str = "processor", now: dt.datetime = NOW - 30 * DAY) -> World:
        return cls.of(provisioning.init(directory, now, ca=ca).directory)

    @classmethod
    def of(cls, directory: Path) -> World:
        state = read_state(directory)
        contents = private_files.read(state.authority, *authorities.FILES)
        authority = authorities.decode_authority(dict(zip(authorities.FILES, contents, strict=True)))
        return cls(state, authority, read_certification(directory))

    @property
    def root_pem(self) -> bytes:
        return read_chain(self.chain).root.pem()

    @property
    def trust(self) -> proof.Trust:
        return proof.Trust(Roots.insecure_simulated(self.root_pem))

    @property
    def fmspc(self) -> str:
        return self.state.fmspc.hex().upper()

    @property
    def platform(self) -> PlatformId:
        return PlatformId(self.state.qe_id().hex().upper(), "0000")

    @property
    def raw_tcb(self) -> RawTcb:
        return RawTcb(self.state.cpu_svn.hex().upper(), self.state.pce.isv_svn.to_bytes(2, "little").hex().upper())

    @property
    def signers(self) -> bytes:
        return self.authority.chain(Role.TCB_SIGNING)

    @property
    def ca_chain(self) -> bytes:
        return self.authority.chain(authorities.CERTIFICATION_AUTHORITIES[self.state.ca])

    def root_crl(self, at: dt.datetime = NOW) -> bytes:
        return self.authority.crl(Role.ROOT, at)

    def pck_crl(self, at: dt.datetime = NOW) -> bytes:
        return self.authority.crl(authorities.CERTIFICATION_AUTHORITIES[self.state.ca], at)

    def sign(self, name: str, body: bytes) -> bytes:
        key = self.authority.issuers[Role.TCB_SIGNING].key
        return write_signed(name, body, encode_signature(key.sign(body, ec.ECDSA(SHA256()))))

    def tcb_info(self, at: dt.datetime = NOW, *, number: int = 17, version: int = 4) -> bytes:
        """TCB info as the API of ``version`` serves it, issued ``at``."""
        collateral = self.authority.collateral(self.state.fmspc, self.state.ca, at)
        info = replace(parse_tcb_info(collateral.tcb_info.body), tcb_evaluation_data_number=number)
        return self.sign("tcbInfo", encode_tcb_info(info if version == 4 else as_version_2(info)))

    def identity(self, at: dt.datetime = NOW, *, enclave: str = "QE", number: int = 17) -> bytes:
        collateral = self.authority.collateral(self.state.fmspc, self.state.ca, at)
        identity = replace(
            parse_enclave_identity(collateral.qe_identity.body), id=enclave, tcb_evaluation_data_number=number
        )
        return self.sign("enclaveIdentity", encode_enclave_identity(identity))

    def proven_tcb_info(self, at: dt.datetime = NOW, *, number: int = 17, version: int = 4) -> Document:
        raw = self.tcb_info(at, number=number, version=version)
        return proof.prove_tcb_info(raw, self.signers, self.root_crl(at), self.trust, update=STANDARD)

    def proven_root_crl(self, at: dt.datetime = NOW) -> Document:
        return proof.prove_root_crl(self.root_crl(at), self.signers, self.trust)

    def tcb_info_key(self, version: int = 4) -> Key:
        return Key(Kind.TCB_INFO, self.fmspc, version, STANDARD)


def recorded(name: str) -> dict[str, Any]:
    """An answer of Intel's service."""
    document: dict[str, Any] = json.loads((VECTORS / "pcs" / f"{name}.json").read_bytes())
    return document


def intel_root_crl() -> bytes:
    return (VECTORS / "quotes" / "v01-configandsw-processor-v3" / "root_ca_crl.der").read_bytes()


class Postgres:
    """A private PostgreSQL cluster on a socket of its own, run by an unprivileged user."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self._directory = directory
        self._binaries = binaries
        self._count = 0
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(directory, owner.pw_uid, owner.pw_gid)
            self._user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            capture_output=True,
            timeout=DEADLINE_S,
            cwd=self._directory,
            **self._user,
        )

    def start(self) -> None:
        data = str(self._directory / "data")
        self.run("initdb", "--pgdata", data, "--auth", "trust", "--username", "tester", "--no-sync")
        options = f"-F -k {self._directory} -c listen_addresses= -c max_connections=60"
        log = str(self._directory / "log")
        self.run("pg_ctl", "start", "--wait", "--pgdata", data, "--options", options, "--log", log)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "--mode", "immediate", "--pgdata", str(self._directory / "data"))

    def create_database(self) -> str:
        self._count += 1
        name = f"test_{self._count}"
        self.run("createdb", "--host", str(self._directory), "--username", "tester", name)
        return f"postgresql://tester@/{name}?host={self._directory}"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres | None]:
    """A running cluster, or None where PostgreSQL is not installed."""
    if not _POSTGRES:
        yield None
        return
    directory = Path(tempfile.mkdtemp(prefix="quotehelper-pg-"))
    try:
        cluster = Postgres(directory, _POSTGRES[-1].parent)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(directory)


def bodies(documents: Sequence[Document]) -> list[bytes]:
    return [document.body for document in documents]
