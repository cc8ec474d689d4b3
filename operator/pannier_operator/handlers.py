"""News from the cluster, through kopf: the only module that knows that library.

kopf watches, reconnects and notices streams that have gone silent. It handles nothing: an event
says in which namespace to look, no more, so none of its state, retries or finalizers are used.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta

import kopf

from pannier_operator.api import BUCKETS, CONFIG_MAPS, USECASES
from pannier_operator.cluster import Access
from pannier_operator.pace import Backoff
from pannier_operator.world import CONFIG_SELECTOR

News = Callable[[str, str, str], None]
"""Told of an object: its namespace, its uid, and its resourceVersion, empty where it is gone."""

LOGIN_MINUTES = 50  # a ServiceAccount's token lasts an hour


async def follow(
    access: Callable[[], Awaitable[Access]],
    namespaces: Collection[str],
    news: News,
) -> None:
    """Tell `news` of whatever changes, until told to end (SIGTERM, SIGINT).

    Raises what broke a watch for good.
    """
    await kopf.operator(
        registry=registry(access, news),
        settings=settings(),
        identity="pannier",  # type: ignore[arg-type]  # or it asks for a user's name: images have none
        clusterwide=not namespaces,
        namespaces=namespaces,
    )


def registry(access: Callable[[], Awaitable[Access]], news: News) -> kopf.OperatorRegistry:
    """The handlers: one that logs in, one that tells news.

    Kinds are fully qualified: one that is named short is looked for in every group of the cluster,
    and a single broken one keeps kopf from starting.
    """
    found = kopf.OperatorRegistry()

    async def log_in(**_: object) -> kopf.ConnectionInfo:
        return _connection_info(await access())

    async def seen(event: kopf.RawEvent, **_: object) -> None:
        metadata = event["object"]["metadata"]
        gone = event["type"] == "DELETED"
        news(metadata["namespace"], metadata["uid"], "" if gone else metadata["resourceVersion"])

    kopf.on.login(registry=found, errors=kopf.ErrorsMode.TEMPORARY)(log_in)
    for each in (USECASES, BUCKETS, CONFIG_MAPS):
        kopf.on.event(group=each.group, version=each.version, plural=each.plural, registry=found)(
            seen
        )
    return found


def settings() -> kopf.OperatorSettings:
    """How to watch so that no silence goes unnoticed and no fault ends the process needlessly."""
    found = kopf.OperatorSettings()
    found.peering.standalone = True  # else another operator's peering object could pause this one
    found.scanning.disabled = True  # the CRDs are known and there: no permission to look for them
    found.posting.enabled = False
    found.persistence.finalizer = "pannier.dev/unused"  # kopf takes its own off when it sees it
    found.persistence.diffbase_storage = _NoDiffs()
    found.watching.server_timeout = 600
    found.watching.client_timeout = 660
    found.watching.connect_timeout = 10
    found.watching.reconnect_backoff = 1
    found.watching.chunk_size = 500
    found.watching.label_selectors[CONFIG_MAPS.version, CONFIG_MAPS.plural] = CONFIG_SELECTOR
    found.networking.request_timeout = 30
    found.networking.connect_timeout = 10
    found.networking.error_backoffs = Backoff(longest=30.0)
    found.execution.default_backoff = 10
    return found


class _NoDiffs(kopf.DiffBaseStorage):
    """Nobody asks what has changed in an object, so kopf need not copy each to find out."""

    def build(
        self,
        *,
        body: kopf.Body,
        extra_fields: Iterable[kopf.FieldSpec] | None = None,
    ) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def _connection_info(access: Access) -> kopf.ConnectionInfo:
    return kopf.ConnectionInfo(
        server=access.server,
        ca_path=access.ca_path,
        ca_data=access.ca_data,
        insecure=not access.verify,
        scheme=None if access.token is None else "Bearer",
        token=access.token,
        certificate_path=access.certificate_path,
        private_key_path=access.key_path,
        expiration=datetime.now(UTC) + timedelta(minutes=LOGIN_MINUTES),
    )
