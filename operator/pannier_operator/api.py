"""What the operator asks of a cluster: five methods that take and give plain JSON.

Everything but `cluster` speaks to this seam; what counts, paces or breaks requests implements it.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

from pannier_gateway.config.crds import GROUP

Json = dict[str, Any]

FIELD_MANAGER = "pannier-operator"
VERSION = "v1alpha1"


class Resource(NamedTuple):
    """A kind of object, as paths and manifests name it; all of ours are namespaced."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "") -> str:
        """Where the API server has it; `namespace` None: in all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root] if namespace is None else [root, "namespaces", namespace]
        return "/".join([*parts, self.plural, *([name] if name else [])])

    def object(self, namespace: str, name: str, **metadata: object) -> Json:
        """The beginning of a manifest of it."""
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": {"namespace": namespace, "name": name} | metadata,
        }


USECASES = Resource(GROUP, VERSION, "usecases", "Usecase")
BUCKETS = Resource(GROUP, VERSION, "buckets", "Bucket")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")


class ClusterError(Exception):
    """A request to the cluster that came to nothing.

    ClusterError
    ├── Refused        the API server answered, with an error
    └── Unreachable    it gave no answer that can be read
    """

    @property
    def retry_after(self) -> float | None:
        """Seconds to leave the API server alone, all requests alike; None: no need to."""
        return None


class Refused(ClusterError):
    """The API server's own words, and its status: 404 there is none, 409 it has changed since."""

    def __init__(self, status: int, message: str, asked_to_wait: float | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self._asked_to_wait = asked_to_wait

    @property
    def retry_after(self) -> float | None:
        if self.status == 429 or self.status >= 500:
            return self._asked_to_wait or 0.0
        return None

    @property
    def ending(self) -> bool:
        """The namespace is being deleted, so nothing can be made in it any more."""
        return self.status == 403 and "being terminated" in self.message

    @property
    def invalid(self) -> bool:
        """What is there fits no schema, and with it whatever would be written beside it."""
        return self.status == 422 and " is invalid: " in self.message

    @property
    def misshapen(self) -> bool:
        """What is there is older than its schema, and nothing can be applied to it."""
        return self.status == 500 and "failed to create typed live object" in self.message


class Unreachable(ClusterError):
    """No connection, no answer in time, or one that no API server gives."""

    @property
    def retry_after(self) -> float | None:
        return 0.0


class Cluster(Protocol):
    """Every method raises ClusterError."""

    def pages(
        self, resource: Resource, namespace: str | None, labels: str = ""
    ) -> AsyncIterator[list[Json]]:
        """Pages of one consistent, complete list; a failure in between is raised."""
        ...

    async def get(self, path: str) -> Json:
        """What is at `path`; Refused with 404 where nothing is."""
        ...

    async def apply(self, manifest: Json, part: str = "") -> Json:
        """Make it so (server-side apply, by force); `part` may be `/status`."""
        ...

    async def patch(self, manifest: Json, operations: Sequence[Json], part: str = "") -> Json:
        """Change the object that `manifest` names, by the operations of a JSON patch."""
        ...

    async def create(self, manifest: Json) -> Json:
        """Make a new object; Refused with 409 if there is one."""
        ...


def resource_of(manifest: Json) -> Resource:
    """The resource that `manifest` is one of."""
    return _BY_KIND[manifest["kind"]]


def unchanged(version: str) -> Json:
    """An operation of a JSON patch that keeps the others from an object that has changed since."""
    return {"op": "test", "path": "/metadata/resourceVersion", "value": version}


_BY_KIND = {each.kind: each for each in (USECASES, BUCKETS, CONFIG_MAPS, EVENTS, LEASES)}
