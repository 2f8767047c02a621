"""Each kind of change with its reason; docs/migration.md has a row for each. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Rule(enum.Enum):
    """Why something is changed, or only remarked."""

    EPC_NAME = "nodes advertise EPC under one name; the amount is the same in its unit"
    EPC_AMOUNT = "this amount is no whole number, which Kubernetes refuses: choose one by hand"
    ENCLAVE_DEVICE = "EPC is accounting alone: the enclave device comes with this resource"
    PROVISION = "asking the helper needs no provisioning privilege, which would let the container identify the platform"
    ENV_TEXT = "values of environment variables are text: the API server refuses anything else"
    AESM_VARIABLE = "Intel's library looks only whether the variable is there: this value did not turn it off"
    SOCKET_FILE = (
        "a mounted socket file leads to the old socket after the helper has restarted: the directory is mounted"
    )
    DIRECTORY_TYPE = "the pod waits until the helper has made the directory, instead of failing at its first quote"
    READ_ONLY = "whoever can write there can put a socket of its own in the helper's place"
    SOCKET_BY_HAND = "a socket file is mounted in a way that can't be changed safely: mount the directory, by hand"
    DEVICE_MOUNT = "device nodes come by resource: remove the mount, and privileged with it, by hand"
    TOLERATION = "kept: it is needed only if your nodes have this taint"
    QUOTE_PROVIDER = "kept: the webhook understands it; see docs/admission.md for what differs"
    IN_PROCESS = "kept: the webhook gives the privilege only in namespaces of --in-process-namespaces"
    REPLACED = "quotehelper takes its place"
    COLLATERAL_CONFIG = "kept: collateral settings are the helper's own; carry the URL over, then remove it"

    @property
    def is_remark(self) -> bool:
        """Whether nothing is changed by it."""
        return self in _REMARKS


_REMARKS = frozenset(
    {
        Rule.EPC_AMOUNT,
        Rule.SOCKET_BY_HAND,
        Rule.DEVICE_MOUNT,
        Rule.TOLERATION,
        Rule.QUOTE_PROVIDER,
        Rule.IN_PROCESS,
        Rule.COLLATERAL_CONFIG,
    }
)


class Change(NamedTuple):
    """One change or remark. ``line``: of the original, from 1. ``thing``: kind and name of the object."""

    line: int
    thing: str
    rule: Rule
    before: str
    after: str

    def as_json(self) -> dict[str, object]:
        """All of it, for machines."""
        return {
            "line": self.line,
            "object": self.thing,
            "rule": self.rule.name.lower().replace("_", "-"),
            "changed": not self.rule.is_remark,
            "before": self.before,
            "after": self.after,
            "reason": self.rule.value,
        }
