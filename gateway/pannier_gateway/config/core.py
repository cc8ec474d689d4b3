"""The Secrets and ConfigMaps that a file of manifests may bring along, for Buckets to refer to."""

import base64
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from pannier_gateway.config.crds import Kind, enveloped
from pannier_gateway.config.schema import Fault, Schema, join

SECRET = Kind("v1", "Secret")
CONFIG_MAP = Kind("v1", "ConfigMap")

_TEXTS = Schema(type="object", additional_properties=Schema(type="string"))
_FLAG = Schema(type="boolean")

SCHEMAS = {
    SECRET: enveloped(
        Schema(
            type="object",
            properties={
                "data": _TEXTS,
                "stringData": _TEXTS,
                "type": Schema(type="string"),
                "immutable": _FLAG,
            },
        )
    ),
    CONFIG_MAP: enveloped(
        Schema(
            type="object",
            properties={"data": _TEXTS, "binaryData": _TEXTS, "immutable": _FLAG},
        )
    ),
}


class _Secret(Struct, frozen=True, rename="camel"):
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}


class _ConfigMap(Struct, frozen=True, rename="camel"):
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


def contents(kind: Kind, value: object) -> dict[str, bytes]:
    """What a Secret or ConfigMap holds, by key; `value` has passed its schema and `undecodable`."""
    encoded, text = _parts(kind, value)
    return {k: _decoded(v) for k, v in encoded.items()} | {k: v.encode() for k, v in text.items()}


def undecodable(kind: Kind, value: object) -> Iterator[Fault]:
    """Values that should be base64 and are not; never quoted, for they may be secrets."""
    name = "data" if kind == SECRET else "binaryData"
    encoded, _ = _parts(kind, value)
    for key, text in encoded.items():
        try:
            _decoded(text)
        except ValueError:
            yield Fault(join(name, key), "Invalid value: must be base64")


def _parts(kind: Kind, value: object) -> tuple[dict[str, str], dict[str, str]]:
    """The part in base64 and the part in plain text."""
    if kind == SECRET:
        secret = msgspec.convert(value, _Secret)
        return secret.data, secret.string_data
    config_map = msgspec.convert(value, _ConfigMap)
    return config_map.binary_data, config_map.data


def _decoded(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)
