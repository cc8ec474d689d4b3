"""The URL grammar, over the raw request target: split first, then decode each part once."""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from pannier.protocol.malformed import Malformed
from pannier.protocol.names import Scopes, check_key, check_usecase

PREFIX = "/v1/objects/"
LONG_SCOPES = 200  # characters from which scopes are not remembered: memory is for the usual ones

_SAFE_IN_PATH = "/:@!$&'()*+,;="  # beside the unreserved letters, digits and - . _ ~
_SCHEME_AND_AUTHORITY = re.compile(r"https?://[^/]*", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Target(NamedTuple):
    """What a request is about. Without a key it is about the collection."""

    usecase: str
    scopes: Scopes
    key: str | None
    query: dict[str, str]


def parse_target(raw: str) -> Target | None:
    """Read a request target as it stood in the request line.

    None when it is no route of this grammar. Raises Malformed when it is one, but its usecase,
    scopes, key or query cannot be read.
    """
    path, _, query = raw.partition("?")
    if not path.startswith("/"):
        path = _SCHEME_AND_AUTHORITY.sub("", path, count=1)
    parts = path.split("/", 5)  # "", "v1", "objects", usecase, scopes, key
    if len(parts) < 5 or not path.startswith(PREFIX):
        return None
    brief = len(parts[4]) < LONG_SCOPES
    usecase, scopes = (_known_place if brief else _parse_place)(parts[3], parts[4])
    key = check_key(decode_part(parts[5])) if len(parts) == 6 and parts[5] else None
    return Target(usecase, scopes, key, parse_query(query) if query else {})


def object_path(usecase: str, scopes: Scopes, key: str | None) -> str:
    """The path of one object, or of the collection; what `parse_target` reads back."""
    place = f"{PREFIX}{usecase}/{scopes}/"
    return place if key is None else place + encode_key(key)


def encode_key(key: str) -> str:
    """Percent-encode a key for a path; what a path may hold literally stays as it is."""
    return quote(check_key(key), safe=_SAFE_IN_PATH)


def decode_part(raw: str) -> str:
    """Percent-decode one part of a target, once. Raises Malformed for what is no UTF-8."""
    if "%" not in raw and raw.isascii():
        return raw
    if broken := _BROKEN_ESCAPE.search(raw):
        shown = raw[broken.start() :][:3]
        raise Malformed(f"{shown!r} is no percent-escape; write a literal '%' as '%25'")
    try:
        return unquote_to_bytes(raw.encode(errors="surrogateescape")).decode()
    except UnicodeError as error:
        raise Malformed(f"{raw[:80]!r} does not decode to valid UTF-8") from error


def parse_query(raw: str) -> dict[str, str]:
    """Read a query: `+` is a space, the last of several equal names wins."""
    fields = (field.replace("+", " ").partition("=") for field in raw.split("&") if field)
    return {decode_part(name): decode_part(value) for name, _, value in fields}


def _parse_place(usecase: str, scopes: str) -> tuple[str, Scopes]:
    return check_usecase(decode_part(usecase)), Scopes.parse(decode_part(scopes))


_known_place = lru_cache(maxsize=1024)(_parse_place)
