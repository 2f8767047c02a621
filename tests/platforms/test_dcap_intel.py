"""Intel's own library, where it is installed, on a machine without SGX: the real way to no quote."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness import DEADLINE_S
from quotehelper.platforms.hardware import read_hardware

ASK = """
import json
from quotehelper.errors import PlatformError
from quotehelper.node.log import Log, LogSettings
from quotehelper.platforms.registry import PlatformSettings, open_platform
from quotehelper.sgx.key_id import QE3_KEY_ID

platform = open_platform(PlatformSettings("dcap"), Log(LogSettings()))
try:
    platform.target(QE3_KEY_ID)
    told = []
except PlatformError as error:
    told = [error.cause.name, error.detail]
print(json.dumps([[key.raw.hex() for key in platform.attestation_keys()], told]))
"""


def ask() -> tuple[list[str], list[str]]:
    """The key ids and the failure of a DCAP platform in a process of its own, all paths left to the loader."""
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    keys, told = json.loads(asked.stdout)
    return keys, told


def test_without_sgx_intel_s_own_library_says_so_in_our_words() -> None:
    hardware = read_hardware()
    if hardware.library is None or hardware.enclave is not None:
        pytest.skip("left out: Intel's libsgx_dcap_ql is not installed, or this machine has SGX")
    keys, (cause, detail) = ask()
    assert len(keys[0]) == 512
    assert cause in {"ENCLAVE_LOAD", "NO_DEVICE"}
    assert "/dev/sgx_enclave is not there" in detail


def test_without_intel_s_library_the_loader_s_reason_is_told() -> None:
    if read_hardware().library is not None:
        pytest.skip("left out: Intel's libsgx_dcap_ql is installed")
    _keys, (cause, detail) = ask()
    assert cause == "UNAVAILABLE"
    assert detail.startswith("libsgx_dcap_ql.so.1: cannot open shared object file")
