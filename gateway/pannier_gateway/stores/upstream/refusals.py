"""What another server's refusals mean for the caller: pure, one table.

Every message names the Bucket, its endpoint and what to check.
"""

from collections.abc import Mapping

import msgspec

from pannier_gateway.errors import (
    BadRequest,
    NotOffered,
    PannierError,
    PreconditionFailed,
    StoreBusy,
    StoreFull,
    StoreMisanswered,
    StoreRefused,
    StoreTimedOut,
    StoreUnavailable,
    TooLarge,
)
from pannier_gateway.stores.exchanging import Dialect
from pannier_gateway.stores.remote import NoSuchRange

OBJECTSTORE = Dialect("an objectstore", "check endpoints")
TOKEN = "check upstream.tokenSecretRef, and what the server lets it do"
USECASE = "declare the usecase there too, under the same name, or check endpoints"


class NotServed(StoreRefused):
    """There is nothing of the kind, which is more than that an object is not there (404)."""


class _Failure(msgspec.Struct):
    detail: str


KINDS: Mapping[int, type[PannierError]] = {
    400: BadRequest,
    401: StoreRefused,
    403: StoreRefused,
    404: NotServed,
    405: NotOffered,
    413: TooLarge,
    416: NoSuchRange,
    501: NotOffered,
    502: StoreRefused,
    504: StoreTimedOut,
}
ADVICE = {401: TOKEN, 403: TOKEN, 404: USECASE}


def refused(place: str, status: int, wait: float | None, body: bytes | None) -> PannierError:
    """The error for an answer that is none of an object; `wait` is the seconds it asks for, `body`
    None where the protocol has a reason that HEAD is not told."""
    detail = detail_of(body)
    said = f"{place} refuses ({status}): {words(body) if detail is None else detail}"
    if status in ADVICE:
        said += f": {ADVICE[status]}"
    match status:
        case 412:
            return PreconditionFailed()
        case 507:
            return StoreFull()
        case 429 | 503 if status == 429 or wait is not None:
            return StoreBusy(said, wait)
        case 502 if detail is None:  # a proxy's: the server behind it starts anew, or is away
            return StoreUnavailable(said)
    if status not in KINDS and status < 500:
        return StoreMisanswered(f"{said}: this is not how an objectstore answers: check endpoints")
    return KINDS.get(status, StoreUnavailable)(said)


def detail_of(body: bytes | None) -> str | None:
    """What the server says as the protocol has it; None: something else has answered."""
    if body is None:
        return "HEAD is not told why"
    try:
        return msgspec.json.decode(body, type=_Failure).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def words(body: bytes | None) -> str:
    """How anything else that has answered puts it."""
    return repr(body[:120].decode("ascii", errors="replace")) if body else "without a word"
