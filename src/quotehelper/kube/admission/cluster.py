"""What is known of the cluster, as data with an age: nodes with a ready helper, labels of namespaces. Pure.

Nothing here is asked for during a review. Where a pod may run is judged generously: node name, node selector and
required node affinity count, taints and resources do not. So a pod that no helper seems to be ready for really has
none.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quotehelper.kube.admission.pod import Pod, items, members, objects, text, texts

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Node:
    """A node, its labels, and whether a helper's pod on it is ready."""

    name: str
    labels: Mapping[str, str]
    helper_ready: bool


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster as it was last seen. ``age_s``: seconds since it was known to be current."""

    nodes: tuple[Node, ...]
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    age_s: float = 0.0

    def lacks_helper(self, pod: Pod) -> bool:
        """Whether there are nodes that ``pod`` may run on, and none of them has a ready helper."""
        if _selectors(pod) > SELECTORS_LIMIT:
            return False
        matching = False
        for node in self.nodes:
            if may_run_on(pod, node):
                if node.helper_ready:
                    return False
                matching = True
        return matching


SELECTORS_LIMIT = 256
"""Rules and values of a pod's affinity that are compared with every node; for a pod with more it can't be told."""


def _selectors(pod: Pod) -> int:
    terms = _required_terms(pod) or []
    rules = [rule for term in terms for part in ("matchExpressions", "matchFields") for rule in objects(term, part)]
    return len(terms) + len(rules) + sum(len(items(rule, "values") or ()) for rule in rules)


def may_run_on(pod: Pod, node: Node) -> bool:
    """Whether nothing that is looked at keeps ``pod`` from ``node``. Raises DecodeError for a malformed pod."""
    name = text(pod.spec, "nodeName")
    if name and name != node.name:
        return False
    if any(node.labels.get(key) != value for key, value in texts(pod.spec, "nodeSelector").items()):
        return False
    terms = _required_terms(pod)
    return terms is None or any(_term_matches(term, node) for term in terms)


def _required_terms(pod: Pod) -> list[dict[str, object]] | None:
    """The terms of which a node must match one; None if it need not match any."""
    affinity = members(members(pod.spec, "affinity") or {}, "nodeAffinity") or {}
    required = members(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
    return None if required is None else objects(required, "nodeSelectorTerms")


def _term_matches(term: dict[str, object], node: Node) -> bool:
    labels = [_matches(rule, node.labels) for rule in objects(term, "matchExpressions")]
    fields = [_matches(rule, {"metadata.name": node.name}) for rule in objects(term, "matchFields")]
    return bool(labels or fields) and all(labels) and all(fields)


def _matches(rule: dict[str, object], labels: Mapping[str, str]) -> bool:
    value = labels.get(text(rule, "key"))
    values = items(rule, "values") or []
    match text(rule, "operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return _compares(value, operator, values)
        case _:
            return True  # one that this version doesn't know keeps nobody away


def _compares(value: str | None, operator: str, values: list[object]) -> bool:
    with contextlib.suppress(TypeError, ValueError, IndexError):
        mine, theirs = int(value or ""), int(str(values[0]))
        return mine > theirs if operator == "Gt" else mine < theirs
    return False
