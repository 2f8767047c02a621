"""Who makes the report that a quote is asked for. Pure.

Only an enclave can make one. On a simulated platform whose state is given an enclave is played; elsewhere an
application's enclave may have made one beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.sgx.report import AttributeFlags, Attributes

if TYPE_CHECKING:
    from quotehelper.platforms.simulated.cpu import Cpu, Enclave
    from quotehelper.sgx.report import Report, TargetInfo

_IDENTITY = EnclaveIdentity(
    mr_enclave=b"\xc0" * 32,
    mr_signer=b"\xc1" * 32,
    attributes=Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=0xE7),
    isv_svn=1,
)


class Reporter(Protocol):
    """An enclave that can report to the daemon's quoting enclave."""

    target: TargetInfo
    """For whom the quoting enclave reports back."""

    def report(self, target: TargetInfo) -> Report:
        """A report for the quoting enclave ``target``, whatever a daemon says that is."""
        ...

    def believes(self, report: Report) -> bool | None:
        """Whether ``report`` was made on this processor for this enclave; None if it can't tell."""
        ...


class PlayedEnclave:
    """A Reporter on the simulated processor ``cpu``; its reports carry the 64 bytes ``report_data``."""

    def __init__(self, cpu: Cpu, report_data: bytes) -> None:
        self._enclave: Enclave = cpu.load(_IDENTITY)
        self._report_data = report_data
        self.target = self._enclave.target

    def report(self, target: TargetInfo) -> Report:
        """EREPORT on the simulated processor."""
        return self._enclave.report(target, self._report_data)

    def believes(self, report: Report) -> bool:
        """Whether its MAC holds."""
        return self._enclave.verify_report(report)


class PreparedReport:
    """A Reporter that has one report, made elsewhere for the daemon's target info of that time."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.target = report.body.as_target()

    def report(self, target: TargetInfo) -> Report:  # noqa: ARG002  it was made for the target of its time
        """Always the same one."""
        return self._report

    def believes(self, report: Report) -> None:
        """It can't tell."""
