"""A pod, as far as the injector looks at it. What else is in one is never touched."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

NOTHING: Mapping[str, str] = MappingProxyType({})


class _Part(Struct, frozen=True, kw_only=True, rename="camel"):
    """A block of a pod. None is a field left out, or null."""


class Variable(_Part, frozen=True, kw_only=True):
    """Something in the environment; its value is the user's affair."""

    name: str


class Mount(_Part, frozen=True, kw_only=True):
    """Where a volume appears."""

    name: str
    mount_path: str


class Port(_Part, frozen=True, kw_only=True):
    """Where a container says that it listens."""

    container_port: int
    protocol: str | None = None


class Container(_Part, frozen=True, kw_only=True):
    """A container, of either list."""

    name: str
    restart_policy: str | None = None
    env: tuple[Variable, ...] | None = None
    ports: tuple[Port, ...] | None = None
    volume_mounts: tuple[Mount, ...] | None = None

    @property
    def tcp_ports(self) -> set[int]:
        return {p.container_port for p in self.ports or () if p.protocol in {None, "", "TCP"}}


class Volume(_Part, frozen=True, kw_only=True):
    """A volume of whatever kind."""

    name: str


class Spec(_Part, frozen=True, kw_only=True):
    """What runs in the pod."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    host_network: bool | None = None


class Metadata(_Part, frozen=True, kw_only=True):
    """How the pod is marked."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Pod(Struct, frozen=True, kw_only=True):
    """A pod."""

    metadata: Metadata
    spec: Spec

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.labels or NOTHING

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.annotations or NOTHING
