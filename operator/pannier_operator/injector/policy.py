"""Injection without a server: a MutatingAdmissionPolicy that gives pods the webhook's sidecar.

A policy cannot refuse what it mutates, so a validating one beside it does. Until that one has its
say, an annotation that is not allowed counts as absent, and nothing is done that the API server
would refuse in words of its own.
"""

from pannier_operator.injector import expressions
from pannier_operator.injector.manifests import CONDITIONS, Manifest, Place, bindings, policy
from pannier_operator.injector.sidecar import Sidecar
from pannier_operator.injector.template import Template

MUTATING, VALIDATING = "MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"
NAME = "pannier-injector"

_CONDITIONS = [
    *CONDITIONS,
    {"name": "no-gateway-of-its-own", "expression": expressions.takes_one()},
]
_ROOM = {"name": "no-volume-with-a-name-of-the-gateway", "expression": expressions.has_room()}


def manifests(given: Sidecar, place: Place) -> list[Manifest]:
    """The policies that stand in for the webhook, with their bindings."""
    every: Template = {
        "parameterNotFoundAction": "Allow",
        "selector": {},
    }  # each Bucket of the namespace
    mounting, checking = _mounting(given), _checking(given)
    return [
        _injecting(given),
        *bindings(MUTATING, NAME, place),
        mounting,
        *bindings(MUTATING, f"{NAME}-buckets", place, paramRef=every),
        checking,
        *bindings(VALIDATING, f"{NAME}-options", place, validationActions=["Deny"]),
    ]


def _injecting(given: Sidecar) -> Manifest:
    return policy(
        MUTATING,
        NAME,
        matchConditions=[*_CONDITIONS, _ROOM],
        variables=_named(expressions.variables(given)),
        mutations=_mutations(expressions.injection(given)),
        reinvocationPolicy="IfNeeded",
    )


def _mounting(given: Sidecar) -> Manifest:
    """For each Bucket what it names. It has no conditions: what one skips is not asked again."""
    return policy(
        MUTATING,
        f"{NAME}-buckets",
        paramKind={"apiVersion": "pannier.dev/v1alpha1", "kind": "Bucket"},
        variables=_named(expressions.variables(given) | expressions.of_bucket()),
        mutations=_mutations(expressions.mounts()),
        reinvocationPolicy="IfNeeded",
    )


def _checking(given: Sidecar) -> Manifest:
    return policy(
        VALIDATING,
        f"{NAME}-options",
        matchConditions=_CONDITIONS,
        variables=_named(expressions.variables(given)),
        validations=[each.validation for each in expressions.rules()],
    )


def _named(found: dict[str, str]) -> list[Template]:
    return [{"name": name, "expression": expression} for name, expression in found.items()]


def _mutations(found: list[str]) -> list[Template]:
    return [{"patchType": "JSONPatch", "jsonPatch": {"expression": each}} for each in found]
