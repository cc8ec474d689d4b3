"""Pannier on a cluster with a node, installed by its chart with the images of now."""

from support import images
from support.charts import CHART, NAMESPACE, RELEASE, helm
from support.cluster import ControlPlane
from support.page import typed

_WHERE = ("--namespace", NAMESPACE)
_READY = ("--wait", "--timeout=2m")
_VALUES = (
    f"--set=images.operator.repository={images.OPERATOR},images.operator.tag={images.TAG}",
    f"--set=images.gateway.repository={images.GATEWAY},images.gateway.tag={images.TAG}",
)


def install(plane: ControlPlane) -> None:
    """As the page says it; returns once operator and injectors are ready."""
    _, *words = typed()[0]
    assert words[:5] == ["install", RELEASE, "charts/pannier", "--namespace", NAMESPACE]
    rest = words[5:]
    _helm(plane, "install", RELEASE, str(CHART), *rest, *_VALUES, "--timeout=2m")


def upgrade(plane: ControlPlane, *values: str) -> None:
    """The same, with what `values` (`--set=…`, `--values=…`) change."""
    _helm(plane, "upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", *values, *_READY)


def uninstall(plane: ControlPlane) -> None:
    """Returns once the pods are gone, too."""
    _helm(plane, "uninstall", RELEASE, "--wait")
    of_ours = f"--selector=app.kubernetes.io/instance={RELEASE}"
    plane.kubectl("wait", "--for=delete", "pod", of_ours, *_WHERE, "--timeout=90s")


def _helm(plane: ControlPlane, *arguments: str) -> None:
    helm(*arguments, *_WHERE, kubeconfig=plane.kubeconfig)
