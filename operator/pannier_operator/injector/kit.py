"""What pods that choose alike are given, filled in once: it would be most of a review's work."""

from functools import lru_cache
from typing import NamedTuple

from pannier_operator.injector import mounts, sidecar
from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.sidecar import Sidecar
from pannier_operator.injector.template import Json, filled, filled_map

Values = dict[str, str]


class Kit(NamedTuple):
    """The gateway, its volumes, variables by their names, and the mount for applications.

    Pods share it: nobody may change what is in it.
    """

    container: Json
    volumes: tuple[Json, ...]
    environment: tuple[tuple[str, Json], ...]
    mount: Json


def kit(given: Sidecar, values: Values, buckets: tuple[Bucket, ...]) -> Kit:
    """For pods with these options, and these of their namespace's Buckets."""
    return _made(given, tuple(values.items()), buckets)


@lru_cache(maxsize=256)
def _made(given: Sidecar, chosen: tuple[tuple[str, str], ...], buckets: tuple[Bucket, ...]) -> Kit:
    values = dict(chosen)
    container = filled_map(sidecar.container(given), values)
    own = [filled(each, values) for each in sidecar.own_mounts()]
    container["volumeMounts"] = [*own, *mounts.mounts(buckets)]
    volumes = (filled(each, values) for each in sidecar.volumes())
    return Kit(
        container=container,
        volumes=(*volumes, *mounts.volumes(buckets)),
        environment=tuple(
            (name, {"name": name, "value": filled(value, values)})
            for name, value in sidecar.environment()
        ),
        mount=filled(sidecar.socket_mount(), values),
    )
