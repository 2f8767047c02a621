"""The signing limit: how long one ECDSA P-256 signature takes on this machine at this moment.

    python -m benchmarks.limits

A quote holds one signature, so one core can't make more than 1/S quotes a second with OpenSSL, whatever the server
does. Machines change their speed from minute to minute: S is measured right before and right after each run that is
compared with it.
"""

from __future__ import annotations

import re
import subprocess
import time
from statistics import mean
from typing import TYPE_CHECKING, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from benchmarks.rig import BenchError, build

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
SIGNED_SIZE = 432
"""Bytes of a quote that are signed: header and report body."""


def openssl_sign_s(seconds: float = 0.25) -> float:
    """Seconds of processor time for one signature by OpenSSL's C library, SHA-256 of 432 bytes included: S."""
    try:
        program = build("signing", "crypto")
    except BenchError:
        return _openssl_speed_s()
    done = subprocess.run([str(program), str(seconds)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def cryptography_sign_s(seconds: float = 0.25) -> float:
    """Seconds for one signature by the Python library ``cryptography``, likewise; DER, as it comes."""
    key, algorithm, message = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(SHA256()), bytes(SIGNED_SIZE)
    count, begin = 0, time.process_time()
    while (elapsed := time.process_time() - begin) < seconds or not count:
        for _ in range(64):
            key.sign(message, algorithm)
        count += 64
    return elapsed / count


def beside_signing(run: Callable[[], _T], seconds: float = 0.25) -> tuple[float, _T]:
    """S around ``run``, the mean of before and after; and what ``run`` returns."""
    before = openssl_sign_s(seconds)
    result = run()
    return mean((before, openssl_sign_s(seconds))), result


def _openssl_speed_s() -> float:
    """S by the ``openssl`` program, where OpenSSL's headers are not installed (Debian: libssl-dev)."""
    try:
        command = ["openssl", "speed", "-seconds", "1", "-mr", "ecdsap256"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError("neither OpenSSL's headers nor its program: install libssl-dev or openssl") from error
    found = re.search(r"^\+F4:\d+:256:([0-9.e-]+):", done.stdout, re.MULTILINE)
    if found is None:
        raise BenchError("openssl speed says nothing about P-256")
    return 1 / float(found[1])


if __name__ == "__main__":
    s, ours = openssl_sign_s(1), cryptography_sign_s(1)
    print(f"one P-256 signature: OpenSSL {s * 1e6:.1f} µs (S, {1 / s:,.0f}/s a core), cryptography {ours * 1e6:.1f} µs")
