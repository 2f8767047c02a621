"""Who is trusted in the end: the key at the root of every chain. Pure.

Keys are compared, not certificates: two certificates of Intel's root are in use, with one key (dcap 5.2, trap 9).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quotehelper.documents.pck import Certificate, read_chain
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from typing import Self

_INTEL_ROOT_KEY = bytes.fromhex(
    "040ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5"
    "67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"
)
"""Intel SGX Root CA, uncompressed point; SHA-384 46e403bd34f05a3f…: the root key id of dcap 4.1."""

_SIMULATED = "Simulated"


class Origin(enum.Enum):
    """Whose word is taken."""

    INTEL = "intel"
    SIMULATED = "simulated"
    """A simulated platform's own authority: its quotes prove nothing about hardware."""
    PRIVATE = "private"
    """Somebody's own root."""


@dataclass(frozen=True, slots=True)
class Roots:
    """The keys that are trusted (uncompressed points, 65 bytes each), and whose they are. Use the constructors."""

    keys: frozenset[bytes]
    origin: Origin

    @classmethod
    def intel(cls) -> Self:
        """Intel's production root."""
        return cls(frozenset((_INTEL_ROOT_KEY,)), Origin.INTEL)

    @classmethod
    def insecure_simulated(cls, pem: bytes) -> Self:
        """The roots of simulated platforms in ``pem``, which the caller vouches for: their quotes prove no hardware.

        Raises DecodeError if it is no PEM certificate, or does not call itself simulated.
        """
        certificates = read_chain(pem).certificates
        if not all(_SIMULATED in certificate.subject for certificate in certificates):
            raise DecodeError("Roots", "", "not the root of a simulated platform: its name would say so")
        return cls(frozenset(map(public_point, certificates)), Origin.SIMULATED)

    @classmethod
    def insecure(cls, pem: bytes) -> Self:
        """Any roots in ``pem``, in place of Intel's: the caller vouches for them. Raises DecodeError if it is none."""
        return cls(frozenset(map(public_point, read_chain(pem).certificates)), Origin.PRIVATE)

    def trust(self, certificate: Certificate) -> bool:
        """Whether the key in ``certificate`` is one of these. Raises DecodeError if it is no P-256 key."""
        return public_point(certificate) in self.keys


def public_point(certificate: Certificate) -> bytes:
    """The P-256 key of ``certificate`` as an uncompressed point (65 bytes). Raises DecodeError for another key."""
    return certificate.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
