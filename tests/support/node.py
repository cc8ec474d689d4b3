"""A real Kubernetes node for tests: containerd, runc and a kubelet, which run pods.

Its machine must be one of its own (support.machine): the addresses are fixed, and what a kubelet
changes of a machine is changed here. No kube-proxy and no DNS: the API server finds the pods of a
Service by itself, and the address of its own Service is the one that it listens at.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support import images
from support.cluster import (
    NODE,
    SCHEDULER,
    START_SECONDS,
    ControlPlane,
    Json,
    Listener,
    NotReady,
    Part,
    running,
    started,
)

ADDRESS = "10.244.0.1"  # of the node, as its pods see it
API_SERVER = Listener(
    "10.96.0.1",
    443,
    (
        "--advertise-address=10.96.0.1",
        "--enable-aggregator-routing",  # webhooks by the addresses of their pods
        "--kubelet-preferred-address-types=InternalIP",
    ),
)

_BRIDGE = "pannier0"
_NETWORK = (
    "ip link set lo up",
    f"ip link add {_BRIDGE} type bridge",
    f"ip addr add {ADDRESS}/24 dev {_BRIDGE}",
    f"ip addr add {API_SERVER.host}/32 dev {_BRIDGE}",
    f"ip link set {_BRIDGE} up",
)
_TUNABLES = {  # what a kubelet wants them to be; those of the kernel stay as they are
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def prepare(folder: Path) -> None:
    """Makes the machine fit for a node: its network, and folders that it may write to."""
    for command in _NETWORK:
        run(*command.split())
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    _lay_over(Path("/var"), folder)
    for name, value in _TUNABLES.items():
        file = folder / name.replace("/", ".")
        file.write_text(f"{value}\n")
        run("mount", "--bind", str(file), f"/proc/sys/{name}")


@contextmanager
def running_node(plane: ControlPlane, machine: str, archive: Path) -> Iterator[None]:
    """A node on the machine of that name, ready for pods of the images in `archive`."""
    scheduler = plane.kubeconfig_for(plane.tokens[SCHEDULER])
    kubelet = plane.kubeconfig_for(plane.tokens[NODE])
    with (
        _running_containerd(plane.folder, archive) as containerd,
        running("kube-scheduler", _scheduler_flags(scheduler), plane.folder),
        running("kubelet", _kubelet_flags(plane.folder, kubelet, machine), plane.folder) as part,
    ):
        _wait_for("a node that is ready", lambda: _is_ready(plane), containerd, part)
        yield


@contextmanager
def _running_containerd(folder: Path, archive: Path) -> Iterator[Part]:
    """containerd with the images of `archive` in it."""
    network, config = folder / "cni", folder / "containerd.toml"
    network.mkdir()
    (network / "10-pannier.conflist").write_text(json.dumps(_network(folder)))
    config.write_text(_containerd_config(folder))
    with started("containerd", ["containerd", f"--config={config}"], folder) as part:
        socket = folder / "containerd.sock"
        _wait_for("containerd", socket.is_socket, part)
        run("ctr", f"--address={socket}", "--namespace=k8s.io", "images", "import", str(archive))
        yield part


def _network(folder: Path) -> Json:
    """Pods reach each other and the node, and nothing outside."""
    subnet = {"subnet": "10.244.0.0/24", "gateway": ADDRESS}
    addresses = {
        "type": "host-local",
        "dataDir": str(folder / "addresses"),
        "ranges": [[subnet]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": _BRIDGE, "isGateway": True, "hairpinMode": True}
    plugins = [bridge | {"ipam": addresses}]
    return {"cniVersion": "1.0.0", "name": "pannier", "plugins": plugins}


def _containerd_config(folder: Path) -> str:
    return f"""
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-run"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true # root may lack the right to lower it
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def _scheduler_flags(kubeconfig: Path) -> list[str]:
    configs = (
        f"--{each}kubeconfig={kubeconfig}" for each in ("", "authentication-", "authorization-")
    )
    return [*configs, "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]


def _kubelet_flags(folder: Path, kubeconfig: Path, machine: str) -> list[str]:
    config = folder / "kubelet.json"
    config.write_text(json.dumps(_kubelet_config(folder, machine)))
    return [
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={folder / 'kubelet'}",
        f"--cert-dir={folder / 'kubelet-certs'}",
        f"--hostname-override={NODE.rpartition(':')[2]}",
        f"--node-ip={ADDRESS}",
    ]


def _kubelet_config(folder: Path, machine: str) -> Json:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{machine}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "syncFrequency": "1s",  # mounted files follow their ConfigMaps and Secrets that soon
        "fileCheckFrequency": "1s",
        "nodeStatusUpdateFrequency": "5s",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
        "resolvConf": "",
    }


def _is_ready(plane: ControlPlane) -> bool:
    with plane.api() as api:
        listed = api.request("GET", "/api/v1/nodes").body["items"]
    conditions = [each for node in listed for each in node["status"].get("conditions", ())]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _lay_over(path: Path, folder: Path) -> None:
    """Has writes under `path` go to a place of their own, which ends with the machine."""
    scratch = folder / "scratch"
    scratch.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(scratch))
    for each in ("upper", "work"):
        (scratch / each).mkdir()
    layers = f"lowerdir={path},upperdir={scratch}/upper,workdir={scratch}/work"
    run("mount", "-t", "overlay", "overlay", "-o", layers, str(path))


def _wait_for(what: str, holds: Callable[[], bool], *parts: Part) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        for part in parts:
            part.check()
        if time.monotonic() > deadline:
            logs = "\n".join(part.log.read_text(errors="replace")[-2000:] for part in parts)
            raise NotReady(f"{what} was not there after {START_SECONDS} s:\n{logs}")
        time.sleep(0.05)


def run(*command: str) -> None:
    """Raises NotReady with what `command` says where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReady(f"{' '.join(command)} failed: {done.stderr}")
