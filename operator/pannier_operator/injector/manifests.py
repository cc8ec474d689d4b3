"""What a cluster is told about injection: which pods come to us, and what must hold of them.

Webhook and policy select the same pods by the same data.
"""

from collections.abc import Iterable

from msgspec import Struct

from pannier_operator.injector.options import INJECT, INJECTED
from pannier_operator.injector.sidecar import GATEWAY
from pannier_operator.injector.template import Json, Template, quoted

API = "admissionregistration.k8s.io/v1"
WEBHOOKS_NAME = "pannier-injector"
GUARD_NAME = "pannier-injector-guard"
SYSTEM = ("kube-node-lease", "kube-public", "kube-system")
PATH = "/mutate"
TIMEOUT_SECONDS = 5

Manifest = dict[str, Template]

_CREATED = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["pods"],
    "scope": "Namespaced",
}
_MIRROR = "kubernetes.io/config.mirror"  # a static pod's image in the API, which no patch reaches
CONDITIONS: list[Template] = [
    {
        "name": "not-a-mirror-of-a-static-pod",
        "expression": "!has(object.metadata.annotations)"
        f" || !({quoted(_MIRROR)} in object.metadata.annotations)",
    }
]


class Place(Struct, frozen=True, kw_only=True):
    """Where the injector is: its own namespace, which it never touches, and how it is reached.

    `client` is a `clientConfig`: a `service` or a `url`.
    """

    namespace: str
    client: dict[str, Json]

    @property
    def excluded(self) -> list[Json]:
        return [*SYSTEM, self.namespace]


def webhook_configuration(place: Place, failure_policy: str = "Fail") -> Manifest:
    """Without caBundle: that field belongs to whoever makes the certificate."""
    return {
        "apiVersion": API,
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": WEBHOOKS_NAME},
        "webhooks": [
            {
                "name": f"{name}.injector.pannier.dev",
                "admissionReviewVersions": ["v1"],
                "clientConfig": place.client,
                "failurePolicy": failure_policy,
                "matchConditions": CONDITIONS,
                "matchPolicy": "Equivalent",
                "reinvocationPolicy": "IfNeeded",
                "rules": [_CREATED],
                "sideEffects": "None",
                "timeoutSeconds": TIMEOUT_SECONDS,
                **selectors,
            }
            for name, selectors in scopes(place).items()
        ],
    }


def scopes(place: Place) -> dict[str, dict[str, Template]]:
    """Pods of namespaces that opted in, and pods that did so themselves: no pod is both."""
    elsewhere = _expression("kubernetes.io/metadata.name", "NotIn", place.excluded)
    not_out = _expression(INJECT, "NotIn", ["false"])
    return {
        "namespaces": {
            "namespaceSelector": _all(elsewhere, _expression(INJECT, "In", ["true"])),
            "objectSelector": _all(not_out),
        },
        "pods": {
            "namespaceSelector": _all(elsewhere, _expression(INJECT, "NotIn", ["true"])),
            "objectSelector": _all(_expression(INJECT, "Exists"), not_out),
        },
    }


def permissions(secret: str) -> tuple[list[Json], list[Json]]:
    """All that the injector may do: the rules of a ClusterRole, and of a Role in its namespace.

    Where somebody else keeps the certificate, the first of them is all.
    """
    ours: list[Json] = ["get", "update"]
    listing: Json = {"apiGroups": ["pannier.dev"], "resources": ["buckets"], "verbs": ["list"]}
    trusting: Json = {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": [WEBHOOKS_NAME],
        "verbs": ours,
    }
    keeping: Json = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": [secret],
        "verbs": ours,
    }
    return [listing, trusting], [keeping]


def guard() -> list[Manifest]:
    """Refuses a pod whose sidecar another webhook has turned into an ordinary init container.

    Such a pod would wait for its gateway to end, for ever.
    """
    validation: Template = {
        "expression": f"!has(object.spec.initContainers) || object.spec.initContainers.all(c,"
        f" c.name != {quoted(GATEWAY)}"
        ' || (has(c.restartPolicy) && c.restartPolicy == "Always"))',
        "message": f"container {GATEWAY} has lost restartPolicy: Always, so this pod would never"
        " start: another admission webhook, made for Kubernetes before 1.28, removed it."
        " Update that webhook or keep it away from this pod",
    }
    matching: Manifest = {
        "resourceRules": [_CREATED],
        "objectSelector": _all(_expression(INJECTED, "Exists")),
    }
    spec: Manifest = {
        "failurePolicy": "Fail",
        "matchConstraints": matching,
        "validations": [validation],
    }
    kind = "ValidatingAdmissionPolicy"
    return [
        _manifest(kind, GUARD_NAME, spec),
        binding(kind, GUARD_NAME, validationActions=["Deny"]),
    ]


def bindings(kind: str, policy: str, place: Place, **spec: Template) -> Iterable[Manifest]:
    """A binding of `policy` for each scope."""
    for name, selectors in scopes(place).items():
        bound = binding(kind, policy, matchResources=selectors, **spec)
        yield bound | {"metadata": {"name": f"{policy}-{name}"}}


def binding(kind: str, policy: str, **spec: Template) -> Manifest:
    return _manifest(f"{kind}Binding", policy, {"policyName": policy, **spec})


def policy(kind: str, name: str, **spec: Template) -> Manifest:
    """A policy for pods that are made; without match constraints of its own it is for all."""
    matching: Manifest = {"resourceRules": [_CREATED]}
    return _manifest(kind, name, {"failurePolicy": "Fail", "matchConstraints": matching, **spec})


def _manifest(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _expression(key: str, operator: str, values: list[Json] | None = None) -> Template:
    found: dict[str, Template] = {"key": key, "operator": operator}
    return found if values is None else found | {"values": values}


def _all(*expressions: Template) -> Template:
    return {"matchExpressions": list(expressions)}
