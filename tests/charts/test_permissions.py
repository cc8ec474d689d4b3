"""What the chart lets each component do: this, and nothing else."""

from collections.abc import Iterable
from typing import Any

import pytest

from pannier_operator.injector import manifests
from support.charts import NAMESPACE, RELEASE, Json, case, of_kind, rendered
from support.rights import LISTING, OPERATOR, keeping_a_lease

pytestmark = pytest.mark.cluster

EVERYWHERE = ("ClusterRole", None)
HERE = ("Role", NAMESPACE)

Rights = dict[tuple[str, str | None], list[Json]]


def rights(name: str, component: str, *arguments: str) -> Rights:
    """The rules of a component, by the kind of its role and the role's namespace."""
    found: Rights = {}
    for role in of_kind(rendered(case(name), *arguments), "Role", "ClusterRole"):
        if role["metadata"]["labels"]["app.kubernetes.io/component"] == component:
            where = role["kind"], role["metadata"].get("namespace")
            found.setdefault(where, []).extend(role["rules"])
    return {where: in_order(rules) for where, rules in found.items()}


def in_order(rules: Iterable[Any]) -> list[Json]:
    """The same rules, as whoever compares them wants them: all that a rule lists is a set."""
    sets = [{part: sorted(each) for part, each in rule.items()} for rule in rules]
    return sorted(sets, key=str)


def test_the_operator_may_do_what_it_is_tested_with_and_no_more() -> None:
    lease = in_order(keeping_a_lease(f"{RELEASE}-operator"))

    alone, several = rights("default", "operator"), rights("everything", "operator")

    assert alone == {EVERYWHERE: in_order(OPERATOR)}
    assert several == {EVERYWHERE: in_order(OPERATOR), HERE: lease}


def test_for_some_namespaces_the_operator_may_do_the_same_in_those_and_nothing_elsewhere() -> None:
    lease = in_order(keeping_a_lease(f"{RELEASE}-operator"))

    assert rights("namespaced", "operator") == {
        ("Role", "team-a"): in_order(OPERATOR),
        ("Role", "team-b"): in_order(OPERATOR),
        HERE: lease,
    }


def test_the_injector_may_do_what_it_is_tested_with_and_no_more() -> None:
    everywhere, here = manifests.permissions(f"{RELEASE}-injector-certificate")

    assert rights("default", "injector") == {
        EVERYWHERE: in_order(everywhere),
        HERE: in_order(here),
    }


def test_for_some_namespaces_the_injector_may_list_the_buckets_of_those() -> None:
    (_, trusting), here = manifests.permissions(f"{RELEASE}-injector-certificate")

    assert rights("namespaced", "injector") == {
        EVERYWHERE: in_order([trusting]),
        ("Role", "team-a"): [LISTING],
        ("Role", "team-b"): [LISTING],
        HERE: in_order(here),
    }


@pytest.mark.parametrize("name", ["cert-manager", "issuer", "secret"])
def test_whose_certificate_others_keep_may_list_buckets_and_no_more(name: str) -> None:
    assert rights(name, "injector") == {EVERYWHERE: [LISTING]}


def test_nobody_else_may_do_anything() -> None:
    assert rights("everything", "hub") == {}
    assert rights("policy", "injector") == {}
