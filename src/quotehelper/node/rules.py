"""Which enclaves the operator wants quoted. Pure.

The settings file's table, off as long as it is not there::

    [enclaves]
    mr_signer = ["0123…"]    # enclaves of these signers
    mr_enclave = ["89ab…"]   # and these, whoever signed them
    debug = false            # but none whose memory can be read from outside

What a report says is proven only by its MAC, which the platform checks afterwards: who lies here gets no quote there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from quotehelper.sgx.report import ReportBody

MOST_MEASUREMENTS = 1024
"""Entries of a list: far more than a cluster has of signers or enclaves."""

_LISTS = ("mr_signer", "mr_enclave")
_MEASUREMENT = re.compile("[0-9a-fA-F]{64}")


class EnclaveRules(NamedTuple):
    """What is quoted.

    ``mr_signer``, ``mr_enclave``: an enclave has to be in one of the two, if either has entries (32 bytes each).
    ``debug``: whether DEBUG enclaves are.
    """

    mr_signer: frozenset[bytes] = frozenset()
    mr_enclave: frozenset[bytes] = frozenset()
    debug: bool = True

    def objection(self, body: ReportBody) -> str:
        """Why the enclave of ``body``, which a client controls, gets no quote; "" if it may."""
        if not self.debug and body.attributes.debug:
            return "DEBUG enclaves are not quoted here: enclaves.debug"
        if not self.mr_signer and not self.mr_enclave:
            return ""
        if body.mr_signer in self.mr_signer or body.mr_enclave in self.mr_enclave:
            return ""
        return f"mr_signer {body.mr_signer.hex()} and mr_enclave {body.mr_enclave.hex()} are not in enclaves"


def read_rules(table: Mapping[str, Any]) -> EnclaveRules:
    """The rules in ``table``, in which ``faults_in_rules`` finds nothing."""
    signers, enclaves = (frozenset(map(bytes.fromhex, table.get(name, ()))) for name in _LISTS)
    return EnclaveRules(signers, enclaves, table.get("debug", True))


def faults_in_rules(table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What is wrong with ``table``: each time the setting's name and the problem."""
    for name, value in table.items():
        if name in _LISTS:
            if not isinstance(value, list) or not 0 < len(value) <= MOST_MEASUREMENTS:
                yield name, f"enclaves.{name} is not a list of 1 to {MOST_MEASUREMENTS} measurements"
            elif wrong := [entry for entry in value if not (isinstance(entry, str) and _MEASUREMENT.fullmatch(entry))]:
                yield name, f"enclaves.{name} holds {wrong[0]!r}, not 64 hexadecimal digits"
        elif name != "debug":
            yield name, f"unknown setting enclaves.{name}"
        elif not isinstance(value, bool):
            yield name, f"enclaves.debug is {value!r}, not true or false"
