"""AdmissionReview v1, the door: a review in bytes becomes a question, an answer becomes bytes."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from pannier_operator.injector.patch import Operation
from pannier_operator.injector.pod import Pod

Namespace = Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")]  # part of a path


class MalformedReview(ValueError):
    """Not an AdmissionReview of a pod; the text says what is wrong."""


class _Kind(Struct, frozen=True):
    kind: Literal["Pod"]
    version: Literal["v1"]
    group: Literal[""] = ""


class _Request(Struct, frozen=True):
    uid: str
    kind: _Kind
    namespace: Namespace
    object: Pod


class _Review(Struct, frozen=True, rename="camel"):
    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: _Request


class Question(Struct, frozen=True):
    """May this pod be made in this namespace, and how."""

    uid: str
    namespace: str
    pod: Pod


def asked(body: bytes) -> Question:
    """Raises MalformedReview."""
    try:
        request = msgspec.json.decode(body, type=_Review).request
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedReview(f"no AdmissionReview of a pod: {error}") from error
    return Question(request.uid, request.namespace, request.object)


def allowed(uid: str, operations: Sequence[Operation] = ()) -> bytes:
    """The pod may be made, once it is changed by `operations`."""
    if not operations:
        return _answer({"uid": uid, "allowed": True})
    patch = b64encode(msgspec.json.encode(operations)).decode()
    return _answer({"uid": uid, "allowed": True, "patchType": "JSONPatch", "patch": patch})


def denied(uid: str, message: str) -> bytes:
    """The pod may not be made, and whoever tries reads `message`."""
    status = {"code": 422, "reason": "Invalid", "message": message}
    return _answer({"uid": uid, "allowed": False, "status": status})


def _answer(response: dict[str, object]) -> bytes:
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return msgspec.json.encode(review)
