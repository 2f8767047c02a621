"""Which container quotes how: declared by our annotation, by Intel's, by the namespace's label, or not at all. Pure.

Exactly one of them decides for a pod: our annotation if it is there, else Intel's, else the namespace.

Ours, ``quotehelper.dev/quoting``::

    value     = entry *( "," entry )                 blanks around tokens are ignored
    entry     = mode / container "=" mode            a mode alone is "*=" mode
    container = name of a container / "*"            "*": each container with EPC that is not named
    mode      = "out-of-process" / "in-process" / "none"

One annotation holds the map because a key of its own for each container has no room: names of containers go up to 63
characters, and so do the names of annotations. What can't be read is warned of and left out; the rest holds.

The namespace's label of the same name has the value ``out-of-process`` alone: privilege is asked for by the pod.

Intel's, ``sgx.intel.com/quote-provider`` (kubernetes 2.3), concerns containers with EPC: a container's name makes that
container quote in-process; ``aesmd`` makes all quote out-of-process, through the container ``aesmd`` of the same pod
if it has one beside others, else through the node's. Intel's webhook recognises that container only if it asks for
EPC, and otherwise silently takes the node's socket; here its name is enough.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.kube.admission.remarks import Caution, CautionKind, shown
from quotehelper.kube.admission.settings import INTEL_EPC_SUM, INTEL_PROVIDER, QUOTING
from quotehelper.kube.admission.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from quotehelper.kube.admission.pod import Pod

AESMD = "aesmd"
"""The value of Intel's annotation that means out-of-process, and the name of a sidecar that is the provider."""
PROBLEMS_LIMIT = 16
"""Entries that can't be read after which the rest is not: looking for what was meant takes time."""
VALUE_CHARACTERS = 16 * 1024
"""Of an annotation's value that are read at most: a hundred containers of the longest name have half of it."""


class Mode(enum.Enum):
    """How a container quotes, as it is written."""

    OUT_OF_PROCESS = "out-of-process"
    IN_PROCESS = "in-process"
    NONE = "none"


class Role(enum.Enum):
    """What a container is in the pod's quoting."""

    CLIENT = "asks a quote provider over the AESM socket"
    IN_PROCESS = "hosts the quoting enclaves itself"
    PROVIDER = "is the quote provider"


@dataclass(frozen=True, slots=True)
class OptingIn:
    """What a pod has opted in to.

    ``roles``: by container name; those without quoting are not in it. ``named``: containers declared one by one,
    which hold even without EPC. ``own_provider``: the name of the container that serves this pod alone, "" if the
    node's helper does.
    """

    roles: dict[str, Role]
    named: frozenset[str] = frozenset()
    own_provider: str = ""
    warnings: tuple[Caution, ...] = ()


class _Declared(NamedTuple):
    container: str
    mode: Mode


def opt_in(pod: Pod, with_epc: Collection[str], *, by_namespace: bool) -> OptingIn:
    """What ``pod`` has opted in to.

    ``with_epc``: names of its containers that ask for EPC. ``by_namespace``: its namespace has the label. Raises
    DecodeError for a malformed pod.
    """
    warnings = tuple(_misspelt_annotations(pod))
    ours, intel = pod.annotations.get(QUOTING), pod.annotations.get(INTEL_PROVIDER)
    if ours is not None:
        if intel is not None:
            both = f"{QUOTING} holds; {INTEL_PROVIDER} beside it has no effect. Remove one of them"
            warnings = (*warnings, Caution(CautionKind.TWO_ANNOTATIONS, both))
        found = _by_our_annotation(pod, ours, with_epc)
    elif intel is not None:
        found = _by_intels_annotation(pod, intel, with_epc)
    else:
        found = OptingIn(dict.fromkeys(with_epc, Role.CLIENT) if by_namespace else {})
    return OptingIn(found.roles, found.named, found.own_provider, (*warnings, *found.warnings))


def _by_our_annotation(pod: Pod, value: str, with_epc: Collection[str]) -> OptingIn:
    names = dict.fromkeys(container.name for container in pod.containers)
    modes: dict[str, Mode] = {}
    warnings: list[Caution] = []
    for entry in value[:VALUE_CHARACTERS].split(","):
        declared = _entry(entry, names)
        if isinstance(declared, _Declared) and modes.setdefault(declared.container, declared.mode) is declared.mode:
            continue
        problem = declared if isinstance(declared, str) else f"{shown(declared.container)} is declared twice"
        warnings.append(Caution(CautionKind.ANNOTATION_VALUE, f"{QUOTING}: {problem}; this entry has no effect"))
        if len(warnings) == PROBLEMS_LIMIT:
            break
    everybody = modes.pop("*", Mode.NONE)
    chosen = {name: everybody for name in names if name in with_epc} | modes
    roles = {name: _ROLES[mode] for name, mode in chosen.items() if mode in _ROLES}
    return OptingIn(roles, frozenset(modes), warnings=tuple(warnings))


_ROLES = {Mode.OUT_OF_PROCESS: Role.CLIENT, Mode.IN_PROCESS: Role.IN_PROCESS}
_MODES = {mode.value: mode for mode in Mode}


def _entry(entry: str, names: Collection[str]) -> _Declared | str:
    """What an entry declares, or what is wrong with it."""
    container, equals, mode = (part.strip() for part in entry.rpartition("="))
    if not equals:
        container = "*"
    if mode not in _MODES:
        return f"{shown(mode)} is no mode{_meant(mode, _MODES)}; known are {', '.join(_MODES)}"
    if container != "*" and container not in names:
        return f"there is no container {shown(container)}{_meant(container, names)}"
    return _Declared(container, _MODES[mode])


def _by_intels_annotation(pod: Pod, value: str, with_epc: Collection[str]) -> OptingIn:
    names = dict.fromkeys(container.name for container in pod.containers)
    if value == AESMD:
        return _through_aesmd(pod, with_epc)
    if value in names:
        return OptingIn({value: Role.IN_PROCESS} if value in with_epc else {})
    problem = f"{INTEL_PROVIDER}: there is no container {shown(value)}{_meant(value, [*names, AESMD])}; no effect"
    return OptingIn({}, warnings=(Caution(CautionKind.ANNOTATION_VALUE, problem),))


def _through_aesmd(pod: Pod, with_epc: Collection[str]) -> OptingIn:
    provider = any(container.name == AESMD and container.stays for container in pod.containers)
    roles = dict.fromkeys(with_epc, Role.CLIENT)
    if not provider:
        return OptingIn(roles)
    roles[AESMD] = Role.PROVIDER
    own_provider = AESMD if len(roles) > 1 else ""
    if AESMD in with_epc:
        return OptingIn(roles, own_provider=own_provider)
    problem = f"container {shown(AESMD)} asks for no EPC, so its quoting enclaves can't start. Add a limit of EPC"
    return OptingIn(roles, own_provider=own_provider, warnings=(Caution(CautionKind.NO_EPC, problem),))


def _misspelt_annotations(pod: Pod) -> Iterator[Caution]:
    known = (QUOTING, INTEL_PROVIDER, INTEL_EPC_SUM)
    ours = QUOTING.partition("/")[0] + "/"
    related = (key for key in pod.annotations if key not in known and ("sgx" in key.lower() or "quot" in key.lower()))
    for key, _ in zip(related, range(_ANNOTATIONS), strict=False):
        meant = nearest(key, known)
        if meant or key.startswith(ours):
            yield Caution(
                CautionKind.ANNOTATION_NAME, f"annotation {shown(key)} has no effect; was {meant or QUOTING} meant?"
            )


_ANNOTATIONS = 64
"""Annotations that are compared at most; a pod can have thousands."""


def _meant(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f" (was {shown(near)} meant?)" if near else ""
