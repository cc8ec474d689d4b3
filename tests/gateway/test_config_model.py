"""The configuration's JSON: written in one way only, read across versions."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_gateway.config.model import LONGEST_LIFETIME, GatewayConfig, digest, dump, parse
from pannier_gateway.config.problems import ConfigError
from pannier_gateway.config.render import render
from support.manifests import Json, bucket, parsed, resources, usecase

FEW = settings(max_examples=40)  # each is many parts
CONFIGS = st.builds(
    lambda found, generation: render(found[0], found[1], generation)[0],
    resources(),
    st.integers(0, 2**53),
)


def config(**spec: object) -> GatewayConfig:
    manifests = parsed(bucket(), usecase(**spec))
    return render(manifests.buckets, manifests.usecases)[0]


def edited(**changes: object) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(dump(config())) | changes)


def edited_usecase(**changes: object) -> bytes:
    whole: Json = msgspec.json.decode(dump(config()))
    whole["usecases"]["attachments"] |= changes
    return msgspec.json.encode(whole)


@FEW
@given(CONFIGS)
def test_what_is_dumped_is_parsed_again(config: GatewayConfig) -> None:
    assert parse(dump(config)) == config


@FEW
@given(CONFIGS)
def test_the_canonical_form_is_compact_sorted_json(config: GatewayConfig) -> None:
    plain = msgspec.json.decode(dump(config))

    assert dump(config) == msgspec.json.encode(plain, order="sorted")


@FEW
@given(CONFIGS, st.integers(0, 9))
def test_the_digest_does_not_see_the_generation(config: GatewayConfig, generation: int) -> None:
    assert digest(msgspec.structs.replace(config, generation=generation)) == digest(config)


def test_the_digest_sees_everything_else() -> None:
    assert digest(config()) != digest(config(suspend="Writes"))


@FEW
@given(CONFIGS, st.integers(1, 9))
def test_fields_of_a_newer_minor_version_are_ignored(config: GatewayConfig, minor: int) -> None:
    newer: Any = msgspec.json.decode(dump(config))
    for part in (newer, *newer["buckets"].values(), *newer["usecases"].values()):
        part["novelty"] = {"of": ["a", "newer", "minor"]}

    assert parse(msgspec.json.encode(newer | {"minor": minor})) == msgspec.structs.replace(
        config, minor=minor
    )


@pytest.mark.parametrize("major", [0, 2, 99])
def test_another_major_version_is_refused_whatever_it_holds(major: int) -> None:
    with pytest.raises(ConfigError, match=f"version {major}.7 is not understood: this gateway re"):
        parse(msgspec.json.encode({"major": major, "minor": 7, "buckets": "elsewhere"}))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "configuration is not JSON"),
        (b'{"major": 1, "mi', "configuration is not JSON"),
        (b'{"major": "\xff"}', "configuration"),
        (b'{"a": ' * 100_000, "configuration is not JSON: "),
        (edited(buckets={"a/b": 0}).replace(b"0", b"[" * 100_000), "configuration is not JSON: "),
        (b"[]", "configuration: the whole: Expected `object`, got `array`"),
        (b"{}", "configuration: the whole: Object missing required field `major`"),
        (edited(generation=-1), "configuration: generation: Expected `int` >= 0"),
        (edited(usecases={"abc": {}}), "usecases.abc: Object missing required field `name`"),
        (edited(buckets={}), "usecases.attachments.bucket: no bucket 'default/main' in buckets"),
        (edited_usecase(name="other"), "usecases.attachments.name is 'other', not its key"),
        (edited_usecase(suspend="Reads"), "usecases.attachments.suspend: Invalid enum value"),
        (
            edited_usecase(limits={"maxObjectBytes": 0}),
            "usecases.attachments.limits.maxObjectBytes: Expected `int` >= 1",
        ),
        (
            edited_usecase(allowedExpirations=[{"policy": "Manual"}, {}]),
            "usecases.attachments.allowedExpirations[1]: Object missing required field `policy`",
        ),
        (
            edited_usecase(expiration={"policy": "TimeToIdle", "after": LONGEST_LIFETIME + 1}),
            "usecases.attachments.expiration.after: Expected `int` <= 31536000000",
        ),
        (
            edited_usecase(allowedExpirations=[{"policy": "TimeToLive", "maxAfter": 1 << 62}]),
            "allowedExpirations[0].maxAfter: Expected `int` <= 31536000000",
        ),
        (
            edited_usecase(expiration={"policy": "TimeToLive"}),
            "usecases.attachments.expiration: after is required for TimeToLive and TimeToIdle",
        ),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_where_it_does_not(
    data: bytes, says: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(data)

    assert says in str(refused.value)


def test_a_bucket_has_exactly_the_block_of_its_type() -> None:
    whole: Json = msgspec.json.decode(dump(config()))
    whole["buckets"]["default/main"]["type"] = "Upstream"

    with pytest.raises(ConfigError, match=r"buckets\.default/main: exactly the block of type Upst"):
        parse(msgspec.json.encode(whole))


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_make_the_parser_stumble(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse(data)
