"""Which representation a reader gets: stored zstd bytes, or plain ones (RFC 9110, section 12.5.3).

An `Accept-Encoding` entry that does not parse is ignored, as if it had not been sent: what is left
is the plain representation, which every reader understands.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from pannier_gateway.errors import NotAcceptable

Coding = Literal["zstd", "identity"]

_ENTRY = re.compile(
    r"([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?",
    re.IGNORECASE | re.ASCII,
)
_UNLISTED_IDENTITY = 1  # acceptable, but below everything that was asked for by name
_UNDECODABLE = (
    "the object was sent as zstd with a window of more than 8 MiB, which is not decoded here, only "
    "sent as it is: ask with accept-encoding: zstd, or store it again with a smaller window"
)


class Accepted(NamedTuple):
    """How much a reader wants each coding, in thousandths; 0 means refused."""

    zstd: int
    identity: int


def choose(header: str | None, stored: Literal["zstd"] | None, *, decodable: bool = True) -> Coding:
    """The coding to answer with, given `Accept-Encoding` and the coding the object is stored in.

    Without the header, plain bytes: simple readers decode nothing. Between equals zstd wins, for
    it costs no decoding; so it does where plain bytes are not to be had (not `decodable`).
    Raises NotAcceptable.
    """
    if header is None and decodable:
        return "identity"
    accepted = accepts(header or "")
    if stored and accepted.zstd and (accepted.zstd >= accepted.identity or not decodable):
        return "zstd"
    if not decodable:
        raise NotAcceptable(_UNDECODABLE)
    if accepted.identity:
        return "identity"
    offered = "identity or zstd" if stored else "identity"
    shown = (header or "")[:80]
    raise NotAcceptable(f"accept-encoding {shown!r} refuses what is on offer: {offered}")


@lru_cache(maxsize=128)
def accepts(header: str) -> Accepted:
    """What an `Accept-Encoding` value accepts; of two entries for one coding the last counts."""
    weights: dict[str, int] = {}
    for entry in header.split(","):
        if match := _ENTRY.fullmatch(entry.strip(" \t")):
            weights[match[1].lower()] = round(float(match[2] or 1) * 1000)
    rest = weights.get("*")
    return Accepted(
        zstd=weights.get("zstd", rest or 0),
        identity=weights.get("identity", _UNLISTED_IDENTITY if rest is None else rest),
    )
