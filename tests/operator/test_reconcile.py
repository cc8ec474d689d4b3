"""What is kept in mind of namespaces between two looks at them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from pannier_operator.api import Json
from pannier_operator.metrics import Metrics
from pannier_operator.publish import Publisher
from pannier_operator.pulse import Pulse
from pannier_operator.reconcile import Reconciler
from pannier_operator.survey import Survey
from pannier_operator.world import World
from support.injection import until
from support.manifests import bucket, usecase
from support.views import Held, held

WRITTEN: Json = {"metadata": {"uid": "uid", "resourceVersion": "2"}, "status": {}}


class Obliging(Held):
    """Takes every write, and forgets it: an API server would tell of what is deleted."""

    async def apply(self, manifest: Json, part: str = "") -> Json:
        return WRITTEN

    async def patch(self, manifest: Json, operations: Sequence[Json], part: str = "") -> Json:
        return WRITTEN


async def test_a_namespace_that_went_unseen_is_not_shown_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for each in ("WATCH_SECONDS", "RELIST_SECONDS"):
        monkeypatch.setattr(f"pannier_operator.survey.{each}", 0)
    cluster, metrics = Obliging(held(bucket(), 0), held(usecase(), 1)), Metrics()
    world = World(cluster)
    survey = Survey(world)
    publisher = Publisher(cluster, world.wrote, "me", lambda: datetime.now(UTC))
    reconciler = Reconciler(world, survey, publisher, metrics, Pulse(resync=600.0))
    working = asyncio.ensure_future(reconciler.run())
    await until(lambda: metrics.usecases.namespaces() == {"default"})

    cluster.objects.clear()
    survey.relisted("/api/v1/configmaps")

    await until(lambda: not metrics.usecases.namespaces())
    working.cancel()
    await asyncio.wait([working])
