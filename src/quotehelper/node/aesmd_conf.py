"""``/etc/aesmd.conf``, the settings file of Intel's service, with its real grammar. Pure.

Source: aesm 4.8. Lines of at most 1,023 characters; keys in any case, with blanks between their words and around the
sign; ``#`` begins a comment. Intel's service reads it by regular expressions with traps that cost people days: one
line that it does not know undoes the default quoting type for all, three keys take exactly one blank behind ``=``, a
comment must be set off by a blank, and any beginning of a value passes for it. Here every setting is read that can be
meant, and every line that Intel's service would read otherwise is a `Mistake` that says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE_LIMIT_BYTES = 64 * 1024
_LINE_LIMIT = 1023

_LINE = re.compile(r"(?P<key>[^=]*?)\s*=(?P<blank>\s*)(?P<value>.*?)\s*$")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)


class AesmdConf(NamedTuple):
    """What the file sets; None: it does not say. Only the quoting type means anything to a daemon that knows DCAP."""

    default_quoting_type: str | None = None
    qpl_log_level: str | None = None
    proxy_type: str | None = None
    aesm_proxy: str | None = None
    whitelist_url: str | None = None


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "default quoting type": ("ecdsa_256", "epid_linkable", "epid_unlinkable"),
    "qpl log level": ("error", "info"),
    "proxy type": ("direct", "default", "manual"),
}
_URLS = ("aesm proxy", "whitelist url")
_BY_LETTERS = {key.replace(" ", ""): key for key in (*_CHOICES, *_URLS)}
_UNDONE = "Intel's service then takes its built-in default quoting type and logs nothing of the quote provider"


def parse_aesmd_conf(text: str) -> tuple[AesmdConf, tuple[Mistake, ...]]:
    """What ``text`` sets, and everything that is wrong with it. Never raises: a mistake costs its line only."""
    values: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for number, line in enumerate(text[:SIZE_LIMIT_BYTES].splitlines(), 1):
        mistakes += _read_line(number, line, values)
    if values.get("proxy_type") == "manual" and "aesm_proxy" not in values:
        mistakes.append(Mistake(1, 1, "The proxy type is manual, but no aesm proxy is named", "Add: aesm proxy = URL"))
    if len(text) > SIZE_LIMIT_BYTES:
        mistakes.append(Mistake(1, 1, f"More than {SIZE_LIMIT_BYTES} characters; the rest was not read", "Shorten it"))
    return AesmdConf(**values), tuple(mistakes)


def _read_line(number: int, line: str, values: dict[str, str]) -> list[Mistake]:
    if len(line) > _LINE_LIMIT:
        problem = f"The line has {len(line)} characters, Intel's service reads {_LINE_LIMIT}"
        return [Mistake(number, _LINE_LIMIT + 1, problem, "Shorten it")]
    content, sign, _comment = line.partition("#")
    mistakes = []
    if sign and content.strip() and not content[-1].isspace():
        problem = "The comment is not set off by a blank, so Intel's service takes it for part of the value"
        mistakes.append(Mistake(number, len(content) + 1, problem, "Put a blank before #"))
    if not content.strip():
        return mistakes
    start = len(content) - len(content.lstrip()) + 1
    found = _LINE.match(content.strip())
    if found is None:
        return [*mistakes, Mistake(number, start, f"No setting: {_UNDONE}", "Write KEY = VALUE, or make it a comment")]
    name = _BY_LETTERS.get("".join(found["key"].split()).lower())
    if name is None:
        problem = f"Unknown setting {found['key'][:40]!r}: {_UNDONE}"
        return [*mistakes, Mistake(number, start, problem, f"Known are: {', '.join(_BY_LETTERS.values())}")]
    return [*mistakes, *_read_value(number, start, name, found, values)]


def _read_value(number: int, start: int, name: str, found: re.Match[str], values: dict[str, str]) -> list[Mistake]:
    value, column = found["value"], start + found.start("value")
    mistakes = []
    if name in _CHOICES:
        meant = [choice for choice in _CHOICES[name] if choice.startswith(value.lower())] if value else []
        if not meant:
            known = ", ".join(_CHOICES[name])
            return [
                Mistake(number, column, f"{name} is {value[:40]!r}, which is none: {_UNDONE}", f"Known are: {known}")
            ]
        if value.lower() != meant[0]:
            problem = f"{value!r} is only the beginning of a value; Intel's service takes it for {meant[0]!r}"
            mistakes.append(Mistake(number, column, problem, f"Write {name} = {meant[0]}"))
        if found["blank"] != " ":
            problem = f"{name} takes exactly one blank behind =: {_UNDONE}"
            mistakes.append(Mistake(number, start + found.start("blank"), problem, f"Write {name} = {meant[0]}"))
        value = meant[0]
        if value.startswith("epid"):
            problem = "EPID is at its end of life, and this daemon does not serve it"
            mistakes.append(Mistake(number, column, problem, f"Write {name} = ecdsa_256"))
    elif not _URL.fullmatch(value):
        return [Mistake(number, column, f"{name} is {value[:40]!r}, not a URL", "It begins with http:// or https://")]
    values[name.replace(" ", "_")] = value
    return mistakes
