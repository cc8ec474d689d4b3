"""What a release and its objects may be called."""

import re

import pytest
import yaml

from support.charts import CHART, KUBERNETES, NAMESPACE, Failed, Json, helm

pytestmark = pytest.mark.cluster

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # what a Service may be called


def objects(release: str, *settings: str) -> list[Json]:
    given = ("--namespace", NAMESPACE, "--kube-version", KUBERNETES)
    chosen = [part for each in settings for part in ("--set", each)]
    text = helm("template", release, str(CHART), *given, *chosen)
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@pytest.mark.parametrize("release", ["shop.v1", "a." * 26 + "b"])
def test_a_release_with_dots_has_services_that_may_be_called_so(release: str) -> None:
    found = objects(release, "hub.enabled=true")

    services = [each["metadata"]["name"] for each in found if each["kind"] == "Service"]
    assert services
    assert [each for each in services if not LABEL.fullmatch(each)] == []


def test_a_release_that_no_service_can_be_called_after_needs_another_name_for_its_objects() -> None:
    with pytest.raises(Failed, match="--set fullnameOverride"):
        objects("1shop")

    assert objects("1shop", "fullnameOverride=shop")


@pytest.mark.parametrize("name", ["nameOverride", "fullnameOverride"])
@pytest.mark.parametrize("wrong", ["A", "-a", "a-", "a.b", "a" * 41])
def test_a_name_that_no_object_can_have_is_refused_as_a_value(name: str, wrong: str) -> None:
    with pytest.raises(Failed, match=f"/{name}"):
        objects("pannier", f"{name}={wrong}")

    assert objects("pannier", f"{name}={'a' * 40}")
