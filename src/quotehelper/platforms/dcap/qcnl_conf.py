"""``sgx_default_qcnl.conf``: where Intel's quote provider library gets certificates and collateral. Pure.

Source: dcap 6.3. JSON with ``//`` comments, one object; before version 1.13 lines of ``KEY=VALUE``, which are still
read. The library says nothing of keys that it does not know, and answers every client with "unexpected error" where it
can't read the file: so every mistake is named here, with line and column.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from quotehelper.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIZE_LIMIT_BYTES = 64 * 1024
RETRY_LIMIT_S = 12.0
"""Seconds of retries beyond which clients have given up: Intel's library waits 15 s for a quote (aesm 1.5)."""


class _Kind(NamedTuple):
    """What a setting must be: in words, and as a test."""

    words: str
    holds: Callable[[object], bool]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_URL = _Kind(
    "a URL that ends in /", lambda value: isinstance(value, str) and re.fullmatch(r"https?://\S+/", value) is not None
)
_SWITCH = _Kind("true or false", lambda value: isinstance(value, bool))
_COUNT = _Kind("a whole number, not negative", _is_count)
_SETTINGS: Mapping[str, _Kind] = {
    "pccs_url": _URL,
    "use_secure_cert": _SWITCH,
    "collateral_service": _URL,
    "tcb_update_type": _Kind('"standard" or "early"', lambda value: value in {"standard", "early"}),
    "pccs_api_version": _Kind('"3.0" or "3.1"', lambda value: value in {"3.0", "3.1"}),
    "retry_times": _COUNT,
    "retry_delay": _COUNT,
    "local_pck_url": _URL,
    "pck_cache_expire_hours": _COUNT,
    "verify_collateral_cache_expire_hours": _Kind(
        "a whole number of hours, at most 2160",
        lambda value: _is_count(value) and int(str(value)) <= 2160,  # noqa: PLR2004  dcap 6.3
    ),
    "local_cache_only": _SWITCH,
    "custom_request_options": _Kind("an object", lambda value: isinstance(value, dict)),
}
_OLD_KEYS = {"PCCS_URL": "pccs_url", "USE_SECURE_CERT": "use_secure_cert"}
_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*')


def parse_qcnl_conf(text: str) -> tuple[dict[str, Any], tuple[Mistake, ...]]:
    """The settings in ``text`` that are what they should be, and everything that is wrong. Never raises."""
    if len(text) > SIZE_LIMIT_BYTES:
        return {}, (Mistake(1, 1, f"More than {SIZE_LIMIT_BYTES} characters", "Shorten it"),)
    bare = _COMMENT.sub(lambda found: found[0] if found[0][0] == '"' else " " * len(found[0]), text)
    if not bare.lstrip().startswith("{"):
        return _parse_old(text)
    try:
        document = json.loads(bare)
    except json.JSONDecodeError as error:
        remedy = "The library can't read the file at all now, and no client gets a quote: mend the JSON"
        return {}, (Mistake(error.lineno, error.colno, f"Not JSON: {error.msg}", remedy),)
    except (ValueError, RecursionError):
        return {}, (Mistake(1, 1, "Not JSON that can be read", "Mend it"),)
    return _judge(document, lambda name: _place(bare, name))


def _judge(
    document: dict[str, Any], place: Callable[[str], tuple[int, int]]
) -> tuple[dict[str, Any], tuple[Mistake, ...]]:
    good: dict[str, Any] = {}
    mistakes = []
    for name, value in document.items():
        if name not in _SETTINGS:
            problem = f"Unknown setting {name[:40]!r}; the library leaves it aside without a word"
            mistakes.append(Mistake(*place(name), problem, f"Known are: {', '.join(_SETTINGS)}"))
        elif not _SETTINGS[name].holds(value):
            problem = f"{name} is {json.dumps(value)[:60]}, not {_SETTINGS[name].words}"
            mistakes.append(Mistake(*place(name), problem, f"Give {_SETTINGS[name].words}"))
        else:
            good[name] = value
    mistakes += _dangers(good, place)
    return good, tuple(mistakes)


def _dangers(good: Mapping[str, Any], place: Callable[[str], tuple[int, int]]) -> list[Mistake]:
    """What the library takes, and clients suffer from."""
    mistakes = []
    times, delay = good.get("retry_times", 0), good.get("retry_delay", 0)
    waiting_s = times * delay if delay else 2 ** min(times, 32) - 1
    if waiting_s > RETRY_LIMIT_S:
        problem = f"{times} retries take up to {waiting_s} s; clients give up after 15 s"
        mistakes.append(Mistake(*place("retry_times"), problem, f"Keep them within {RETRY_LIMIT_S:g} s altogether"))
    if good.get("use_secure_cert") is False:
        problem = "Whoever answers at the address is believed: TLS certificates are not checked"
        remedy = "Give the service a certificate that the machine trusts, and set use_secure_cert to true"
        mistakes.append(Mistake(*place("use_secure_cert"), problem, remedy))
    return mistakes


def _parse_old(text: str) -> tuple[dict[str, Any], tuple[Mistake, ...]]:
    """The form of before version 1.13: KEY=VALUE lines, ``#`` before a comment."""
    document: dict[str, Any] = {}
    lines: dict[str, tuple[int, int]] = {}
    mistakes = []
    for number, line in enumerate(text.splitlines(), 1):
        name, sign, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        known = _OLD_KEYS.get(name.strip())
        if not sign or known is None:
            problem = "Neither JSON nor a setting of the old form"
            mistakes.append(Mistake(number, 1, problem, f"Write JSON, or {' or '.join(_OLD_KEYS)}=VALUE"))
            continue
        lines[known] = number, 1
        document[known] = {"TRUE": True, "FALSE": False}.get(value.strip().upper(), value.strip())
    good, found = _judge(document, lambda key: lines.get(key, (1, 1)))
    return good, (*mistakes, *found)


def _place(bare: str, name: str) -> tuple[int, int]:
    """Line and column of the key ``name``; of the document if it is written in escapes."""
    found = re.search(rf"{re.escape(json.dumps(name))}\s*:", bare)
    at = found.start() if found else 0
    return bare.count("\n", 0, at) + 1, at - bare.rfind("\n", 0, at)
