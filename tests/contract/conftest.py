"""Every platform of the table, each with an enclave that can make reports on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from quotehelper.platforms.simulated.cpu import Cpu, EnclaveIdentity, Fuses
from quotehelper.platforms.simulated.enclaves import Pce, Qe3, Tcb, pce_identity, qe3_identity
from quotehelper.platforms.simulated.platform import SimulatedPlatform
from quotehelper.sgx.quote import CertificationData, CertificationType
from quotehelper.sgx.report import AttributeFlags, Attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quotehelper.platforms.platform import Platform
    from quotehelper.sgx.report import Report, TargetInfo


class Subject(NamedTuple):
    """A platform, and what an application on it can do: ``report`` is EREPORT, ``verify_report`` checks one for it."""

    platform: Platform
    app_target: TargetInfo
    report: Callable[[TargetInfo, bytes], Report]
    verify_report: Callable[[Report], bool]


def simulated() -> Subject:
    cpu = Cpu(Fuses.from_secret(bytes(range(32))), bytes([3] * 16))
    chain = CertificationData(CertificationType.PCK_CHAIN, b"-----BEGIN CERTIFICATE-----\n" * 100 + b"\0")
    qe = Qe3(cpu, qe3_identity(), Pce(cpu, pce_identity()), Tcb(cpu.cpu_svn, 13), chain)
    app = cpu.load(EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=AttributeFlags.INIT, xfrm=3)))
    return Subject(SimulatedPlatform(qe), app.target, app.report, app.verify_report)


@pytest.fixture(params=[simulated], ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    made: Subject = request.param()
    yield made
    made.platform.close()
