"""A processor with known secrets, and enclaves on it."""

from __future__ import annotations

import pytest

from quotehelper.platforms.simulated.cpu import Cpu, Enclave, EnclaveIdentity, Fuses
from quotehelper.platforms.simulated.enclaves import Pce, Qe3, Tcb, pce_identity, qe3_identity
from quotehelper.sgx.quote import CertificationData, CertificationType
from quotehelper.sgx.report import AttributeFlags, Attributes

CPU_SVN = bytes(range(16, 32))
TCB = Tcb(CPU_SVN, 13)
CERTIFICATION = CertificationData(CertificationType.PCK_CHAIN, b"a chain that nobody reads here\0")


@pytest.fixture
def cpu() -> Cpu:
    return Cpu(Fuses.from_secret(bytes(range(32))), CPU_SVN)


@pytest.fixture
def pce(cpu: Cpu) -> Pce:
    return Pce(cpu, pce_identity())


@pytest.fixture
def qe(cpu: Cpu, pce: Pce) -> Qe3:
    return Qe3(cpu, qe3_identity(), pce, TCB, CERTIFICATION)


@pytest.fixture
def app(cpu: Cpu) -> Enclave:
    """An application's enclave."""
    attributes = Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=7)
    return cpu.load(EnclaveIdentity(b"\xa1" * 32, b"\xa2" * 32, attributes, isv_prod_id=3, isv_svn=4))
