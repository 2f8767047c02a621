"""Migrate a file of manifests: text in, text and explained changes out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import DecodeError
from quotehelper.kube.migration.editing import Editor, elements, find, parse_documents, scalar
from quotehelper.kube.migration.replaced import successor
from quotehelper.kube.migration.rules import Change, Rule
from quotehelper.kube.migration.workloads import WorkloadMigration

if TYPE_CHECKING:
    import yaml

    from quotehelper.kube.migration.workloads import Target

_TEMPLATED = {
    **dict.fromkeys(
        ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job", "ReplicationController"), ("spec", "template")
    ),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "PodTemplate": ("template",),
    "Pod": (),
}
"""Where the pod, or its template, stands in an object of each kind."""
_ATTESTATION_CONFIG = "sgx-attestation-conf"
_NESTING_LIMIT = 4
"""Lists within lists, which nobody writes."""


class Migrated(NamedTuple):
    """The new text, and what was changed or remarked, in the order of the old one."""

    text: str
    changes: tuple[Change, ...]


def migrate_text(text: str, target: Target) -> Migrated:
    """``text``, one or more manifests in YAML or JSON, as it must be for ``target``.

    Objects that are none of Kubernetes' are left alone. Raises DecodeError for what is no YAML; then nothing is
    returned. The result has been read again: it is YAML.
    """
    editor = Editor(text)
    changes: list[Change] = []
    seen: set[int] = set()
    for document in parse_documents(text):
        _migrate_object(document, _Work(editor, target, changes, seen), nesting=0)
    result = editor.result()
    parse_documents(result)
    return Migrated(result, tuple(sorted(changes, key=lambda change: change.line)))


class _Work(NamedTuple):
    """What is done to one file. ``seen``: identities of objects that were visited; aliases can lead there again."""

    editor: Editor
    target: Target
    changes: list[Change]
    seen: set[int]


def _migrate_object(document: yaml.Node, work: _Work, *, nesting: int) -> None:
    if id(document) in work.seen:
        return
    work.seen.add(id(document))
    kind = scalar(find(document, "kind"))
    thing = f"{kind}/{scalar(find(document, 'metadata', 'name'))}"
    workload = WorkloadMigration(work.editor, work.target, thing, work.changes)
    heir = successor(document)
    if kind == "List" and nesting < _NESTING_LIMIT:
        for item in elements(find(document, "items")):
            _migrate_object(item, work, nesting=nesting + 1)
    elif heir:
        _replace(document, work, thing, heir, whole=nesting == 0)
    elif kind in _TEMPLATED:
        pod = find(document, *_TEMPLATED[kind])
        spec = find(pod, "spec")
        if spec is not None:
            workload.migrate(find(pod, "metadata"), spec)
    elif kind == "ResourceQuota":
        workload.quota(find(document, "spec", "hard"))
    elif kind == "ConfigMap" and scalar(find(document, "metadata", "name")) == _ATTESTATION_CONFIG:
        work.changes.append(Change(document.start_mark.line + 1, thing, Rule.COLLATERAL_CONFIG, thing, ""))


def _replace(document: yaml.Node, work: _Work, thing: str, heir: str, *, whole: bool) -> None:
    """Leave an object out; within a List it can only be told."""
    if whole:
        if work.editor.is_json:
            raise DecodeError(
                "manifest", thing, f"a file of JSON can't hold nothing: {heir} takes its place. Remove it"
            )
        comment = f"# {thing} is left out: {heir} takes its place (quotehelper migrate)."
        work.editor.replace_document(document, comment)
    work.changes.append(Change(document.start_mark.line + 1, thing, Rule.REPLACED, thing, heir))
