"""What is said to the user, and why a pod can't work. Each kind has its row in docs/admission.md. Pure.

The API server cuts a warning at 256 characters and drops all of them beyond 4096 (admission v1); so none is longer,
and the rest is counted.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from quotehelper.kube.admission.settings import GUIDE

WARNING_CHARACTERS = 256
ALL_WARNINGS_CHARACTERS = 4096
NAME_CHARACTERS = 64
"""Of a name from the pod that a message shows at most."""


class CautionKind(enum.Enum):
    """Each kind of warning: a pod that starts, but perhaps not as it was meant."""

    BOTH_MODES_IN_CONTAINER = "both-modes-in-container"
    BOTH_MODES_IN_POD = "both-modes-in-pod"
    SOCKET_FILE = "socket-file"
    AESM_VARIABLE = "aesm-variable"
    ANNOTATION_NAME = "annotation-name"
    ANNOTATION_VALUE = "annotation-value"
    TWO_ANNOTATIONS = "two-annotations"
    NAMESPACE_LABEL = "namespace-label"
    RESOURCE_NAME = "resource-name"
    NO_EPC = "no-epc"
    EPC_TWICE = "epc-twice"
    EPC_ROUNDED = "epc-rounded"
    NO_HELPER = "no-helper"
    POD_SECURITY = "pod-security"
    UNREADABLE = "unreadable"


class DenialKind(enum.Enum):
    """Each kind of denial: a pod that could not start, or not quote, whatever happens."""

    NOT_WHOLE = "not-whole"
    LIMIT_MISSING = "limit-missing"
    REQUEST_IS_NOT_LIMIT = "request-is-not-limit"
    NEGATIVE = "negative"
    IN_PROCESS_NOT_ALLOWED = "in-process-not-allowed"


class Caution(NamedTuple):
    """One warning: what is the matter and what to do about it, in a sentence or two."""

    kind: CautionKind
    text: str


class Denied(Exception):  # noqa: N818  control flow within admission; it never leaves ``admit``
    """The pod can't work. ``kind``: why; ``message``: cause, remedy and where to read on."""

    def __init__(self, kind: DenialKind, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}. {remedy}. See {GUIDE}#{kind.value}")
        self.kind = kind


def shown(name: str) -> str:
    """A name from the pod as messages show it: quoted, on one line, not too long."""
    return f'"{_printable(name[:NAME_CHARACTERS])}{"…" * (len(name) > NAME_CHARACTERS)}"'


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def as_texts(warnings: list[Caution]) -> tuple[str, ...]:
    """Warnings as the API server passes them on: each cut to its limit, the rest counted where all are too much."""
    texts: list[str] = []
    room = ALL_WARNINGS_CHARACTERS - WARNING_CHARACTERS
    distinct = list(dict.fromkeys(warnings))
    for at, (kind, text) in enumerate(distinct):
        mark = f" [{kind.value}]"
        cut = text if len(text + mark) <= WARNING_CHARACTERS else text[: WARNING_CHARACTERS - len(mark) - 1] + "…"
        line = _printable(cut) + mark
        room -= len(line)
        if room < 0:
            texts.append(f"and {len(distinct) - at} more about SGX; see {GUIDE}")
            break
        texts.append(line)
    return tuple(texts)
