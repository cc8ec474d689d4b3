"""How kopf is told to watch; what comes of it is tested on an API server, in `test_faults`."""

import asyncio
import gc
from collections.abc import Iterable
from itertools import islice

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pannier_operator.api import Json
from pannier_operator.cluster import PAGE, Connection
from pannier_operator.handlers import following, lighten, settings
from pannier_operator.injector.patch import bytes_in
from support.charts import CHART
from support.manifests import bucket, usecase
from support.operators import Place
from support.views import held

LONGEST_ANNOTATIONS = 256 << 10  # bytes, of one object, by the API server


def test_what_fails_is_tried_again_for_ever_and_never_long_apart() -> None:
    backoffs = settings().networking.error_backoffs
    assert isinstance(backoffs, Iterable)

    delays = list(islice(backoffs, 1000))

    assert len(delays) == 1000
    assert max(delays) <= 30


def test_a_watch_that_has_gone_silent_is_begun_anew_within_75_seconds() -> None:
    watching = settings().watching

    assert watching.inactivity_timeout is not None
    assert watching.connect_timeout is not None
    silence = watching.inactivity_timeout + watching.reconnect_backoff
    assert 60 < silence <= 75  # what is alive says something every minute
    assert watching.connect_timeout <= 10


@given(st.dictionaries(st.sampled_from(["spec", "status", "data", "binaryData"]), st.text()))
def test_of_an_object_that_was_told_of_little_is_held(parts: Json) -> None:
    notes = {"annotations": {"x": "y"}, "labels": {"x": "y"}, "managedFields": [{}]}
    kept = held(bucket())["metadata"]
    body = {"apiVersion": "v1", "kind": "Any", "metadata": kept | notes} | parts

    lighten(body)

    assert body == {"apiVersion": "v1", "kind": "Any", "metadata": kept}


@pytest.mark.cluster
async def test_kopf_holds_no_object_whole_that_it_has_told_of(place: Place) -> None:
    place.apply(*(usecase(f"use-{number}") for number in range(10)))
    connection, told, whole = Connection(place.plane.kubeconfig), set[str](), list[int]()
    await connection.load()
    done = asyncio.Event()

    def news(_namespace: str, uid: str, _version: str) -> None:
        told.add(uid)
        if len(told) == 10 and not done.is_set():
            whole.append(sum(is_whole(each, place.namespace) for each in gc.get_objects()))
            done.set()

    async with following(connection.access, [place.namespace], news, lambda _: None):
        await asyncio.wait_for(done.wait(), 15)

    assert whole == [1]  # that is told of now


@pytest.mark.cluster
async def test_what_others_have_begun_is_not_ended_with_kopf(place: Place) -> None:
    connection = Connection(place.plane.kubeconfig)
    await connection.load()

    async with following(connection.access, [place.namespace], lambda *_: None, lambda _: None):
        other = asyncio.create_task(asyncio.Event().wait())

    assert not other.cancelling()
    other.cancel()


def is_whole(found: object, namespace: str) -> bool:
    """Whether this is the metadata of an object as it was listed."""
    return isinstance(found, dict) and "managedFields" in found and found["namespace"] == namespace


def test_pages_of_the_largest_objects_have_room_in_the_memory_of_the_pod() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    memory = bytes_in(values["operator"]["resources"]["limits"]["memory"])

    assert settings().watching.chunk_size == PAGE  # whose lists come at the same time
    largest = PAGE * LONGEST_ANNOTATIONS
    assert largest <= memory / 8  # as bytes, as text, as objects: for either
