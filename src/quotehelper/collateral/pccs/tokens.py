"""Tokens of users and administrators: known by their hash, compared in constant time. Pure.

Source: dcap 6.2: a client sends the token itself, the service knows its SHA-512 in lower-case hexadecimal.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.collateral.pccs.endpoints import Token
from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HASH = re.compile(r"[0-9a-f]{128}")


class TokenHashes(NamedTuple):
    """The hashes of both tokens; empty: nobody has that token, and what needs it is refused."""

    admin: str = ""
    user: str = ""

    @classmethod
    def checked(cls, admin: str, user: str) -> TokenHashes:
        """The hashes as given on the command line. Raises ConfigError if one is no SHA-512 in hexadecimal."""
        for name, given in (("admin", admin), ("user", user)):
            if given and not _HASH.fullmatch(given.lower()):
                problem = f"The {name} token's hash is not 128 hexadecimal digits"
                raise ConfigError(problem, "Make it with: printf %s TOKEN | sha512sum")
        return cls(admin.lower(), user.lower())

    def admit(self, wanted: Token | None, headers: Mapping[str, str]) -> bool:
        """Whether ``headers`` carry the token that is wanted, if any is."""
        if wanted is None:
            return True
        known = self.admin if wanted is Token.ADMIN else self.user
        given = hashlib.sha512(headers.get(wanted.value, "").encode(errors="surrogateescape")).hexdigest()
        return hmac.compare_digest(given, known) and bool(known)
