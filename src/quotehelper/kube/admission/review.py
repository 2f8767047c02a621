"""AdmissionReview v1: read what the API server sends, write what it expects. Pure.

A review that can't be read is a DecodeError, answered with HTTP 400; the webhook's failure policy lets the pod pass.
Everything but the creation of pods is allowed as it is.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError
from quotehelper.kube.admission.admit import Surroundings, Verdict, admit

if TYPE_CHECKING:
    from quotehelper.kube.admission.cluster import ClusterView
    from quotehelper.kube.admission.settings import AdmissionSettings

REVIEW_LIMIT_BYTES = 6 * 1024 * 1024
"""Twice what the API server takes for one object (3 MiB), since a review can hold an old one beside the new."""
_VERSION, _KIND = "admission.k8s.io/v1", "AdmissionReview"
_UID_CHARACTERS = 128
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class Review:
    """One question. ``pod``: the pod that is created; None if it is about something else."""

    uid: str
    namespace: str
    pod: dict[str, object] | None


def read_review(data: bytes) -> Review:
    """The review in ``data``, which anybody on the network may have sent. Raises DecodeError."""
    if len(data) > REVIEW_LIMIT_BYTES:
        raise DecodeError(_KIND, "", f"{len(data)} bytes, at most {REVIEW_LIMIT_BYTES} are read")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DecodeError(_KIND, "", f"not JSON: {type(error).__name__}") from error
    if not isinstance(document, dict) or document.get("apiVersion") != _VERSION or document.get("kind") != _KIND:
        raise DecodeError(_KIND, "apiVersion", f"{_KIND} of {_VERSION} expected")
    request = document.get("request")
    if not isinstance(request, dict):
        raise DecodeError(_KIND, "request", "an object expected")
    uid, namespace = request.get("uid"), request.get("namespace", "")
    if not isinstance(uid, str) or not 0 < len(uid) <= _UID_CHARACTERS:
        raise DecodeError(_KIND, "request.uid", f"text of 1 to {_UID_CHARACTERS} characters expected")
    if not isinstance(namespace, str):
        raise DecodeError(_KIND, "request.namespace", "text expected")
    return Review(uid, namespace, _pod(request))


def _pod(request: dict[str, object]) -> dict[str, object] | None:
    """The pod that is created, if that is what the request is."""
    resource = request.get("resource")
    creates_pod = (
        request.get("operation") == "CREATE"
        and not request.get("subResource")
        and resource == {"group": "", "version": "v1", "resource": "pods"}
    )
    pod = request.get("object")
    return pod if creates_pod and isinstance(pod, dict) else None


def judge(review: Review, settings: AdmissionSettings, view: ClusterView | None, *, by_namespace: bool) -> Verdict:
    """The verdict on what ``review`` asks. ``by_namespace``: it came by way of the namespace's label."""
    if review.pod is None:
        return Verdict()
    return admit(review.pod, Surroundings(review.namespace, by_namespace, view), settings)


def write_answer(review: Review, verdict: Verdict) -> bytes:
    """The AdmissionReview that answers ``review`` with ``verdict``."""
    response: dict[str, object] = {"uid": review.uid, "allowed": verdict.denial is None}
    if verdict.denial is not None:
        response["status"] = {"code": _FORBIDDEN, "reason": "Forbidden", "message": verdict.denial}
    elif verdict.patch:
        patch = json.dumps([operation.as_json() for operation in verdict.patch], separators=(",", ":"))
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}
    if verdict.warnings:
        response["warnings"] = list(verdict.warnings)
    return json.dumps({"apiVersion": _VERSION, "kind": _KIND, "response": response}).encode()
