"""The ConfigMap that gateways mount: one content, one generation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier_gateway.config.model import GatewayConfig, digest, dump
from pannier_operator.configmap import (
    LIMIT_BYTES,
    NEARLY_FULL_BYTES,
    fills_up,
    holds,
    manifest,
    published,
    size,
    successor,
)
from pannier_operator.plan import NOTHING, plan
from pannier_operator.world import ConfigMap
from support.manifests import bucket, usecase
from support.operators import Place, reached
from support.views import view

CONFIG = plan(view(bucket(), usecase()), NOTHING, {}).config


def written(config: GatewayConfig, **changes: object) -> ConfigMap:
    """`config` as a cluster holds it once it is written."""
    made = manifest("default", config, None)
    metadata = made["metadata"]
    found = ConfigMap(
        uid="1",
        resource_version="7",
        labels=metadata["labels"],
        annotations=metadata["annotations"],
        data=made["data"],
    )
    return replace(found, **changes)


def test_the_first_configuration_is_generation_one() -> None:
    assert successor(CONFIG, published(None)).generation == 1
    assert successor(NOTHING, published(None)).generation == 1


def test_one_content_stays_one_generation() -> None:
    first = successor(CONFIG, NOTHING)

    assert successor(CONFIG, first) == first
    assert holds(written(first), first)


def test_another_content_is_the_next_generation() -> None:
    first = successor(CONFIG, NOTHING)

    assert successor(NOTHING, first).generation == 2


def test_what_is_written_is_read_back() -> None:
    first = successor(CONFIG, NOTHING)

    assert published(written(first)) == first
    assert size(first) == len(written(first).data["config.json"])


def test_a_mangled_configuration_is_made_anew_and_the_count_goes_on() -> None:
    mangled = written(replace(CONFIG, generation=6), data={"config.json": "{"})

    now = published(mangled)

    assert now == replace(NOTHING, generation=6)
    assert successor(CONFIG, now).generation == 7


def test_the_configuration_of_a_newer_operator_is_replaced() -> None:
    text = dump(replace(CONFIG, generation=6, major=2)).decode()

    assert successor(CONFIG, published(written(CONFIG, data={"config.json": text}))).generation == 1


def test_a_lost_label_or_note_is_put_back() -> None:
    first = successor(CONFIG, NOTHING)

    assert not holds(written(first, labels={}), first)
    assert not holds(written(first, annotations={}), first)
    assert not holds(None, first)


def test_what_others_add_is_no_reason_to_write() -> None:
    first = successor(CONFIG, NOTHING)
    found = written(first)

    assert holds(replace(found, labels=found.labels | {"theirs": "too"}), first)
    assert holds(replace(found, data=found.data | {"other.json": "{}"}), first)


def prefixed(text: str) -> GatewayConfig:
    """A configuration with `text` in it, which only a hand could have written so."""
    ((key, told),) = CONFIG.buckets.items()
    return replace(CONFIG, buckets={key: replace(told, prefix=text)})


@given(st.text())
def test_a_size_is_what_the_config_map_has_to_hold(text: str) -> None:
    assert size(prefixed(text)) == len(written(prefixed(text)).data["config.json"].encode())


@given(st.sampled_from("xé…𝄞"), st.integers(-2, 2), st.integers(-2, 2))
def test_room_runs_out_once_whatever_the_letters(letter: str, before: int, after: int) -> None:
    longest = (NEARLY_FULL_BYTES - size(prefixed(""))) // len(letter.encode())
    was, becomes = (prefixed(letter * (longest + each)) for each in (before, after))

    assert fills_up(written(was), becomes) is (before <= 0 < after)
    assert fills_up(None, becomes) is (after > 0)


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore:Sending a large body")  # escapes double it
@pytest.mark.parametrize("letter", ["x", "é", "𝄞", '"'])
async def test_what_is_within_the_limit_is_what_an_api_server_takes(
    place: Place, letter: str
) -> None:
    each = size(prefixed(letter)) - size(prefixed(""))
    full = prefixed(letter * ((LIMIT_BYTES - size(prefixed(""))) // each))

    async with reached(place.plane.kubeconfig) as cluster:
        await cluster.apply(manifest(place.namespace, full, None))

    assert LIMIT_BYTES - size(full) < each
    assert place.config == full


def test_a_write_is_for_the_version_that_was_seen() -> None:
    first = successor(CONFIG, NOTHING)
    again = manifest("default", first, written(first))

    assert again["metadata"]["resourceVersion"] == "7"
    assert again["metadata"]["annotations"]["pannier.dev/digest"] == digest(CONFIG)
    assert "resourceVersion" not in manifest("default", first, None)["metadata"]
