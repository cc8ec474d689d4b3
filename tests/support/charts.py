"""The charts, rendered and installed by a real Helm, and what of them tests look at."""

import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.binaries import ROOT, binary, cache_home

Json = dict[str, Any]

CHART = ROOT / "charts" / "pannier"
CRDS = ROOT / "charts" / "pannier-crds"
CASES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "pannier", "pannier-system"
KUBERNETES = "1.36.0"


class Failed(Exception):
    """Helm said no: what it said."""


def named(case: Path) -> str:
    return case.name.removesuffix("-values.yaml")


def case(name: str) -> Path:
    """The values of a case of charts/pannier/ci."""
    return CHART / "ci" / f"{name}-values.yaml"


def helm(*arguments: str, kubeconfig: Path | None = None) -> str:
    """What Helm prints. Raises Failed."""
    homes = {
        f"HELM_{each}_HOME": str(cache_home() / "helm") for each in ("CACHE", "CONFIG", "DATA")
    }
    who = ("--kubeconfig", str(kubeconfig)) if kubeconfig is not None else ()
    command = [str(binary("helm")), *arguments, *who]
    done = subprocess.run(
        command, env=os.environ | homes, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(done.stdout + done.stderr)
    return done.stdout


def rendered(values: Path, *arguments: str, kubernetes: str = KUBERNETES) -> list[Json]:
    """The objects that the chart is with `values`, in the order of their installation."""
    return json.loads(_rendered(values, arguments, kubernetes))  # type: ignore[no-any-return]  # it is one


@cache
def _rendered(values: Path, arguments: tuple[str, ...], kubernetes: str) -> str:
    given = ("--namespace", NAMESPACE, "--values", str(values), "--kube-version", kubernetes)
    text = helm("template", RELEASE, str(CHART), *given, *arguments)
    return json.dumps([each for each in yaml.load_all(text, yaml.CSafeLoader) if each])


def of_kind(objects: list[Json], *kinds: str) -> list[Json]:
    return [each for each in objects if each["kind"] in kinds]


def one(objects: list[Json], kind: str, end: str = "") -> Json:
    """The object of `kind` whose name ends with `end`."""
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"].endswith(end))
    return found


def workloads(objects: list[Json]) -> list[Json]:
    """What has pods all the time."""
    return of_kind(objects, "Deployment", "StatefulSet")


def pods(objects: list[Json]) -> Iterator[Json]:
    """A pod of each workload and Job, with the volumes that a StatefulSet would claim for it."""
    for workload in (*workloads(objects), *of_kind(objects, "Job")):
        template, spec = workload["spec"]["template"], workload["spec"]
        claimed = [
            {"name": each["metadata"]["name"], "persistentVolumeClaim": {"claimName": "c"}}
            for each in spec.get("volumeClaimTemplates", ())
        ]
        volumes = [*template["spec"].get("volumes", ()), *claimed]
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": template["metadata"] | {"name": workload["metadata"]["name"]},
            "spec": template["spec"] | {"volumes": volumes},
        }


def container(objects: list[Json], component: str) -> Json:
    """The one container of a component's pods."""
    (found,) = (
        each
        for pod in pods(objects)
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == component
        for each in pod["spec"]["containers"]
    )
    return dict(found)


def selectors(manifest: Json) -> Iterator[Json]:
    """Where a webhook configuration, or a binding of a policy, selects namespaces."""
    for each in manifest.get("webhooks", ()):
        yield each["namespaceSelector"]
    if "matchResources" in manifest.get("spec", {}):
        yield manifest["spec"]["matchResources"]["namespaceSelector"]
