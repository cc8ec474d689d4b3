"""What to change in a pod so that it has its gateway: pure, and nothing once it has.

What the user wrote stays: variables, mounts and containers of the same name are left alone, and a
pod that leaves no room for the gateway is refused with the reason.
"""

from collections.abc import Iterable, Iterator, Sequence

from pannier_operator.injector import mounts, sidecar
from pannier_operator.injector.kit import Kit, Values, kit
from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.options import INJECT, INJECTED, NEITHER, PREFIX, Refused, chosen
from pannier_operator.injector.pod import Container, Pod
from pannier_operator.injector.sidecar import CLAIM, CONFIG, DATA, GATEWAY, SECRETS, SOCKET, Sidecar
from pannier_operator.injector.template import Json

Operation = dict[str, Json]

# Native sidecars that the gateway's own traffic goes through: it starts after them.
MESHES = ("consul-dataplane", "istio-proxy", "kuma-sidecar", "linkerd-proxy")
SOCKET_PATHS = (sidecar.SOCKET_DIR, f"{sidecar.SOCKET_DIR}/")
RESERVED = (CONFIG, DATA, SOCKET, SECRETS)
PORTS = (f"{PREFIX}port", f"{PREFIX}admin-port")

_BOTH_PORTS = f"annotations {' and '.join(PORTS)}"
SAME_PORT = f"{_BOTH_PORTS} must differ"
TOO_LITTLE_MEMORY = f"annotation {PREFIX}memory-request must be at most {PREFIX}memory"
ON_THE_NODE = f"a pod with hostNetwork must have {_BOTH_PORTS}: they are the node's"
NAMED = (
    "no volume may have a name that is the gateway's (pannier-config, -data, -socket, -secrets, "
    "-claim-…): give it another"
)
CROWDED = f"no container may have the gateway's ports: give it others by {_BOTH_PORTS}"


def wanted(pod: Pod) -> bool:
    """Whether the pod, in a place where pods get gateways, takes one. Raises Refused."""
    if _has_its_own(pod):
        return False
    label = pod.labels.get(INJECT, "true")
    if label not in {"true", "false"}:
        raise Refused(f"{NEITHER}; it is {label!r}")
    return label == "true"


def _has_its_own(pod: Pod) -> bool:
    """Whether its user has written a gateway: ours is an init container, and has our volumes."""
    ordinary, early = (
        any(each.name == GATEWAY for each in containers or ())
        for containers in (pod.spec.containers, pod.spec.init_containers)
    )
    ours = any(each.name == SOCKET for each in pod.spec.volumes or ())
    return ordinary or (early and not ours)


def patch(pod: Pod, given: Sidecar, buckets: Iterable[Bucket]) -> list[Operation]:
    """What gives the pod its gateway, as RFC 6902 operations. Raises Refused."""
    if not wanted(pod):
        return []
    values = chosen(pod.annotations, given.defaults)
    check(pod, values)
    inits = pod.spec.init_containers or ()
    mine = kit(given, values, mounts.selected(buckets, values["buckets"]))
    if any(each.name == GATEWAY for each in inits):
        operations = [*_moved(inits)]
    else:
        operations = [*_added(inits, mine), *_volumes(pod, mine)]
    operations += _told("/spec/containers", enumerate(pod.spec.containers), mine)
    operations += _told("/spec/initContainers", _later(inits), mine)
    return [*operations, *_labelled(pod, given)]


def check(pod: Pod, values: Values) -> None:
    """Raises Refused when there is no room for the gateway, or too little."""
    agree(values)
    ports = {int(values["port"]), int(values["admin-port"])}
    if pod.spec.host_network and not {*PORTS} <= pod.annotations.keys():
        raise Refused(ON_THE_NODE)
    for each in (*(pod.spec.init_containers or ()), *pod.spec.containers):
        if each.name != GATEWAY and (taken := ports & each.tcp_ports):
            raise Refused(f"{CROWDED}; container {each.name} has {min(taken)}")


def agree(values: Values) -> None:
    """Raises Refused when no pod could have a gateway with all of these values."""
    if int(values["port"]) == int(values["admin-port"]):
        raise Refused(f"{SAME_PORT}; both are {values['port']}")
    if bytes_in(values["memory-request"]) > bytes_in(values["memory"]):
        more = f"{values['memory-request']} is more than {values['memory']}"
        raise Refused(f"{TOO_LITTLE_MEMORY}; {more}")


def bytes_in(size: str) -> int:
    """`96Mi` in bytes."""
    return int(size[:-2]) << {"Mi": 20, "Gi": 30}[size[-2:]]


def _insertion(containers: Sequence[Container]) -> int:
    """The place right after the last mesh proxy."""
    proxies = (
        index
        for index, each in enumerate(containers, start=1)
        if each.name in MESHES and each.restart_policy == "Always"
    )
    return max(proxies, default=0)


def _moved(containers: Sequence[Container]) -> Iterator[Operation]:
    """Behind mesh proxies that came later."""
    place = [each.name for each in containers].index(GATEWAY)
    last = _insertion(containers) - 1
    if place < last:
        path = "/spec/initContainers"
        yield {"op": "move", "from": f"{path}/{place}", "path": f"{path}/{last}"}


def _added(containers: Sequence[Container], kit: Kit) -> Iterator[Operation]:
    if not containers:
        yield {"op": "add", "path": "/spec/initContainers", "value": []}
    path = f"/spec/initContainers/{_insertion(containers)}"
    yield {"op": "add", "path": path, "value": kit.container}


def _volumes(pod: Pod, kit: Kit) -> Iterator[Operation]:
    for volume in pod.spec.volumes or ():
        if volume.name in RESERVED or volume.name.startswith(CLAIM):
            raise Refused(f"{NAMED}; volume {volume.name} has one")
    if not pod.spec.volumes:
        yield {"op": "add", "path": "/spec/volumes", "value": []}
    for added in kit.volumes:
        yield {"op": "add", "path": "/spec/volumes/-", "value": added}


def _later(containers: Sequence[Container]) -> Iterable[tuple[int, Container]]:
    """The init containers that may use the gateway, where they are once it is in its place."""
    names, start = [each.name for each in containers], _insertion(containers)
    if GATEWAY not in names:
        return enumerate(containers[start:], start + 1)
    start = max(start, names.index(GATEWAY) + 1)
    return enumerate(containers[start:], start)


def _told(path: str, containers: Iterable[tuple[int, Container]], kit: Kit) -> Iterator[Operation]:
    """What tells applications where the gateway is, where they don't know better."""
    for index, each in containers:
        if each.name not in (*MESHES, GATEWAY):
            yield from _variables(f"{path}/{index}/env", each, kit)
            yield from _mounts(f"{path}/{index}/volumeMounts", each, kit)


def _variables(path: str, container: Container, kit: Kit) -> Iterator[Operation]:
    known = {each.name for each in container.env or ()}
    missing = [told for name, told in kit.environment if name not in known]
    if missing and not container.env:
        yield {"op": "add", "path": path, "value": []}
    for told in missing:
        yield {"op": "add", "path": f"{path}/-", "value": told}


def _mounts(path: str, container: Container, kit: Kit) -> Iterator[Operation]:
    if any(each.mount_path in SOCKET_PATHS for each in container.volume_mounts or ()):
        return
    if not container.volume_mounts:
        yield {"op": "add", "path": path, "value": []}
    yield {"op": "add", "path": f"{path}/-", "value": kit.mount}


def _labelled(pod: Pod, given: Sidecar) -> Iterator[Operation]:
    if INJECTED in pod.labels:
        return
    if not pod.labels:
        yield {"op": "add", "path": "/metadata/labels", "value": {}}
    path = f"/metadata/labels/{INJECTED.replace('/', '~1')}"
    yield {"op": "add", "path": path, "value": given.version}
