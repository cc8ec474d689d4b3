"""What a pod is given: the gateway's container, its volumes, and what applications are told."""

from msgspec import Struct

from pannier_operator.injector.template import Given, Joined, Template

GATEWAY = "pannier-gateway"  # the container
CONFIG, DATA, SOCKET = "pannier-config", "pannier-data", "pannier-socket"  # volumes
SECRETS = "pannier-secrets"  # the volume, of what Buckets name
CLAIM = "pannier-claim-"  # what names of volumes for claims begin with
CONFIG_MAP = "pannier-config"  # which the operator writes, one for each namespace
USER = 65532  # of the image; a pod that runs as root must not make the gateway do so

CONFIG_DIR = "/etc/pannier/config"
MOUNTED_DIR = "/etc/pannier/mounted"  # one volume, so that a rotation arrives whole
SECRETS_DIR = f"{MOUNTED_DIR}/secrets"  # NAME/KEY below it; CA bundles are beside it
DATA_DIR = "/data"
CLAIMS_DIR = "/claims"
SOCKET_DIR = "/run/pannier"
SOCKET_PATH = f"{SOCKET_DIR}/gateway.sock"

STARTING = {"periodSeconds": 1, "failureThreshold": 600}  # also waits for a first configuration
LIVING = {"periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 5}
UNPRIVILEGED: dict[str, Template] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

DEFAULTS = {
    "port": "8650",
    "admin-port": "8651",
    "cpu": "100m",
    "memory": "256Mi",
    "memory-request": "96Mi",
    "spool-size": "2Gi",
    "drain": "25",
    "log-level": "info",
    "buckets": "*",
}


class Sidecar(Struct, frozen=True, kw_only=True, eq=False):
    """What the cluster decides about the gateways in it; `defaults` has a value for each option.

    `cpu_limit`: whether the CPU request is a limit too.
    """

    image: str
    pull_policy: str = "IfNotPresent"
    version: str
    defaults: dict[str, str]
    cpu_limit: bool = False


def container(sidecar: Sidecar) -> dict[str, Template]:
    """A native sidecar that the `restricted` profile of PodSecurity accepts."""
    return {
        "name": GATEWAY,
        "image": sidecar.image,
        "imagePullPolicy": sidecar.pull_policy,
        "restartPolicy": "Always",
        "args": _arguments(),
        "env": [
            {"name": "PANNIER_SECRETS_DIR", "value": SECRETS_DIR},
            {"name": "PANNIER_CLAIMS_DIR", "value": CLAIMS_DIR},
        ],
        "ports": [
            {
                "name": "pannier-metrics",
                "containerPort": Given("admin-port", number=True),
                "protocol": "TCP",
            }
        ],
        "startupProbe": _probe("/startupz", STARTING),
        "livenessProbe": _probe("/livez", LIVING),
        "resources": _resources(sidecar),
        "securityContext": UNPRIVILEGED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": own_mounts(),
    }


def own_mounts() -> list[Template]:
    return [
        {"name": CONFIG, "mountPath": CONFIG_DIR, "readOnly": True},
        {"name": DATA, "mountPath": DATA_DIR},
        {"name": SOCKET, "mountPath": SOCKET_DIR},
    ]


def volumes() -> list[Template]:
    """The ConfigMap is optional: a pod may be older than its namespace's first configuration."""
    return [
        {"name": CONFIG, "configMap": {"name": CONFIG_MAP, "optional": True}},
        {"name": DATA, "emptyDir": {"sizeLimit": Given("spool-size")}},
        {"name": SOCKET, "emptyDir": {"sizeLimit": "1Mi"}},
    ]


def environment() -> list[tuple[str, Template]]:
    """What applications are told, where they have not been told already: name and value."""
    return [
        ("PANNIER_URL", Joined("http://127.0.0.1:", Given("port"))),
        ("PANNIER_SOCKET", SOCKET_PATH),
    ]


def socket_mount() -> dict[str, Template]:
    return {"name": SOCKET, "mountPath": SOCKET_DIR, "readOnly": True}


def _arguments() -> list[Template]:
    return [
        f"--config={CONFIG_DIR}/config.json",
        f"--data-dir={DATA_DIR}",
        f"--socket={SOCKET_PATH}",
        Joined("--spool-size=", Given("spool-size")),
        Joined("--listen=127.0.0.1:", Given("port")),
        Joined("--admin-listen=0.0.0.0:", Given("admin-port")),
        Joined("--drain=", Given("drain")),
        Joined("--log-level=", Given("log-level")),
    ]


def _probe(path: str, patience: dict[str, int]) -> dict[str, Template]:
    return {"httpGet": {"path": path, "port": Given("admin-port", number=True)}, **patience}


def _resources(sidecar: Sidecar) -> dict[str, Template]:
    limits: dict[str, Template] = {"memory": Given("memory")}
    if sidecar.cpu_limit:
        limits["cpu"] = Given("cpu")
    return {"requests": {"cpu": Given("cpu"), "memory": Given("memory-request")}, "limits": limits}
