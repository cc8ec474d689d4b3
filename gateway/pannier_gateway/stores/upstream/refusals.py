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

TOKEN = "check upstream.tokenSecretRef, and what the server lets it do"
USECASE = "declare the usecase there too, under the same name, or check endpoints"


class _Failure(msgspec.Struct):
    detail: str


KINDS: Mapping[int, type[PannierError]] = {
    400: BadRequest,
    401: StoreRefused,
    403: StoreRefused,
    404: StoreRefused,
    405: NotOffered,
    413: TooLarge,
    501: NotOffered,
    502: StoreRefused,
    504: StoreTimedOut,
}
ADVICE = {401: TOKEN, 403: TOKEN, 404: USECASE}


def refused(place: str, status: int, wait: float | None, body: bytes) -> PannierError:
    """The error for an answer that is none of an object; `wait` is the seconds it asks for."""
    detail = detail_of(body)
    said = f"{place} refuses ({status}): {words(body) if detail is None else detail}"
    if status in ADVICE:
        said += f": {ADVICE[status]}"
    match status:
        case 412:
            return PreconditionFailed()
        case 507:
            return StoreFull()
        case 502 if detail is None:  # a proxy's: whoever is behind it starts anew, or is away
            return StoreUnavailable(said)
        case 503 if wait is None:
            return StoreUnavailable(said)
        case 429 | 503:
            return StoreBusy(said, wait)
    if status not in KINDS and status < 500:
        return StoreMisanswered(f"{said}: this is not how an objectstore answers: check endpoints")
    return KINDS.get(status, StoreUnavailable)(said)


def detail_of(body: bytes) -> str | None:
    """What the server says as the protocol has it; None: something else has answered."""
    try:
        return msgspec.json.decode(body, type=_Failure).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def words(body: bytes) -> str:
    """How anything else that has answered puts it."""
    return repr(body[:120].decode("ascii", errors="replace")) if body else "without a word"
