"""Which quoting mode a process really uses, judged from what is seen of it. Pure.

The process decides, not the manifest. What decides, and what shows it (aesm 1.9, kubernetes 2.3):

* Intel's libsgx_dcap_ql looks once, when it is loaded, whether ``SGX_AESM_ADDR`` is set, to whatever. Then it asks
  AESM through libsgx_quote_ex, loaded at the first quote; else it hosts the quoting enclaves itself.
* libsgx_qe3_logic and libsgx_pce_logic do the hosting. libsgx_dcap_ql is linked with them, so they show nothing if it
  is there; without it somebody uses them directly.
* libsgx_quote_ex is AESM's client. With libsgx_dcap_ql and without the variable, somebody uses it directly.
* An open /dev/sgx_provision is the privilege that hosting takes and asking does not.
* Gramine and Fortanix's runner know AESM alone, and don't look at the variable.

What can't be seen: a variable set or removed by the process after its start, and what is yet to be loaded.
"""

from __future__ import annotations

import enum
import posixpath
import re
from dataclasses import dataclass

AESM_VARIABLE = "SGX_AESM_ADDR"
AESM_SOCKET = "/var/run/aesmd/aesm.socket"

_DCAP = re.compile(r"libsgx_dcap_ql\.so")
_QUOTE_EX = re.compile(r"libsgx_quote_ex\.so")
_HOSTING = re.compile(r"libsgx_(qe3|pce|id_enclave)_logic\.so|libsgx_(qe3|pce|id_enclave)\.signed\.so")
_ENCLAVE_FILE = re.compile(r"libsgx_(qe3|pce)\.signed\.so")
_PROVISION = re.compile(r"/dev/(sgx_provision|sgx/provision)$|/sgx_provision$")


class QuotingMode(enum.Enum):
    """How a process quotes."""

    OUT_OF_PROCESS = "out-of-process"
    IN_PROCESS = "in-process"
    BOTH = "both"
    NEITHER = "neither"


class SocketState(enum.Enum):
    """What the process finds at the AESM socket's path."""

    THERE = "a socket"
    MISSING = "nothing"
    NO_SOCKET = "something that is no socket"
    UNKNOWN = "unknown: its file system can't be looked at"


@dataclass(frozen=True, slots=True)
class Workload:
    """What is seen of a process.

    ``aesm_variable``: the value it was started with, None if it was not set. ``files``: paths that it has mapped.
    ``devices``: SGX device nodes that it holds open or mapped. ``executable``: its path. ``socket``: what is at the
    AESM socket's path as the process sees it.
    """

    executable: str
    aesm_variable: str | None
    files: frozenset[str]
    devices: frozenset[str]
    socket: SocketState


@dataclass(frozen=True, slots=True)
class Finding:
    """The mode, the evidence for each side, and what to do, "" if nothing is to be done."""

    mode: QuotingMode
    out_of_process: tuple[str, ...]
    in_process: tuple[str, ...]
    remedy: str


def judge_quoting_mode(seen: Workload) -> Finding:
    """What mode ``seen`` uses."""
    asking, hosting = tuple(_asking(seen)), tuple(_hosting(seen))
    mode = {
        (True, True): QuotingMode.BOTH,
        (True, False): QuotingMode.OUT_OF_PROCESS,
        (False, True): QuotingMode.IN_PROCESS,
        (False, False): QuotingMode.NEITHER,
    }[bool(asking), bool(hosting)]
    return Finding(mode, asking, hosting, _remedy(mode, seen))


def _asking(seen: Workload) -> list[str]:
    """Evidence that the process asks AESM."""
    found = []
    if seen.aesm_variable is not None and _loaded(seen, _DCAP):
        found.append(f"{_loaded(seen, _DCAP)} is loaded, and {AESM_VARIABLE} was set when it looked")
    if _loaded(seen, _QUOTE_EX):
        found.append(f"{_loaded(seen, _QUOTE_EX)}, AESM's client, is loaded")
    if "/gramine/" in seen.executable or any("/gramine/" in path for path in seen.files):
        found.append("it is Gramine, which asks AESM in any case")
    if posixpath.basename(seen.executable) == "ftxsgx-runner":
        found.append("it is Fortanix's runner, which asks AESM in any case")
    return found


def _hosting(seen: Workload) -> list[str]:
    """Evidence that the process hosts quoting enclaves."""
    found = []
    if seen.aesm_variable is None and _loaded(seen, _DCAP):
        found.append(f"{_loaded(seen, _DCAP)} is loaded, and {AESM_VARIABLE} was not set")
    elif not _loaded(seen, _DCAP) and _loaded(seen, _HOSTING):
        found.append(f"{_loaded(seen, _HOSTING)}, which hosts quoting enclaves, is loaded without libsgx_dcap_ql")
    elif _loaded(seen, _ENCLAVE_FILE):
        found.append(f"{_loaded(seen, _ENCLAVE_FILE)}, a quoting enclave, is mapped")
    held = sorted(device for device in seen.devices if _PROVISION.search(device))
    if held:
        found.append(f"{held[0]} is open: the privilege that hosting takes")
    return found


def _loaded(seen: Workload, pattern: re.Pattern[str]) -> str:
    """The name of a mapped file that matches, "" if there is none."""
    return next((name for path in sorted(seen.files) if pattern.match(name := posixpath.basename(path))), "")


def _remedy(mode: QuotingMode, seen: Workload) -> str:
    if mode is QuotingMode.BOTH:
        return (
            "Choose one. Out-of-process: set SGX_AESM_ADDR=1 before the start, and take /dev/sgx_provision away. "
            "In-process: remove SGX_AESM_ADDR and libsgx_quote_ex"
        )
    if mode is QuotingMode.OUT_OF_PROCESS and seen.socket in {SocketState.MISSING, SocketState.NO_SOCKET}:
        return f"It finds {seen.socket.value} at {AESM_SOCKET}: mount the directory /var/run/aesmd of the node there"
    if mode is QuotingMode.IN_PROCESS:
        return "Nothing, if it is meant so. For out-of-process set SGX_AESM_ADDR=1 before the start"
    if mode is QuotingMode.NEITHER and seen.aesm_variable is not None:
        return f"No quote library is loaded yet. {AESM_VARIABLE} is set, so Intel's will ask AESM"
    if mode is QuotingMode.NEITHER:
        return "No quote library is loaded: look again after its first quote, or at the process that makes it"
    return ""
