"""Have a quote made over a verifier's challenge; runs in an enclave under Gramine, or on any directory of its shape.

Gramine shows attestation as files: what is written to ``user_report_data`` stands in the report, and reading ``quote``
has it quoted by the node's helper. The report data is the SHA-256 of the environment variable CHALLENGE, 32 bytes, and
32 zeros. The quote goes to standard output in base64.
"""

import base64
import hashlib
import os
import sys
from pathlib import Path

ATTESTATION = Path("/dev/attestation")


def attest(challenge: bytes, attestation: Path = ATTESTATION) -> bytes:
    """A quote over ``challenge``. Raises OSError where no quote can be had."""
    report_data = hashlib.sha256(challenge).digest() + bytes(32)
    (attestation / "user_report_data").write_bytes(report_data)
    return (attestation / "quote").read_bytes()


if __name__ == "__main__":
    given = os.environ.get("CHALLENGE", "")
    if not given:
        sys.exit("CHALLENGE is not set: a quote that answers nobody proves nothing new")
    sys.stdout.write(base64.b64encode(attest(given.encode())).decode() + "\n")
