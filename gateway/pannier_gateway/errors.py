"""What can go wrong, as the caller sees it. An error knows its own HTTP status.

PannierError
├── BadRequest 400               the request contradicts itself or the protocol
│   └── ExpirationRefused        outside what the usecase allows
├── ObjectNotFound 404           absent
│   └── ObjectExpired            its time is over
├── UsecaseUnknown 404           nobody declared it
├── RouteUnknown 404             no such path
├── MethodNotAllowed 405
├── NotAcceptable 406            no representation that the caller accepts
├── RequestTimeout 408           the body stopped coming
├── PreconditionFailed 412       if-match and its kin
├── TooLarge 413                 above the usecase's maxObjectBytes
├── RangeNotSatisfiable 416      carries the size that the range missed
├── ReadOnly 403                 the bucket takes no writes
├── ExpectationFailed 417        an `expect` that is none
├── HeadTooLarge 431             the request line or a header is too long
├── NotOffered 501               a part of the protocol that this version lacks
├── Suspended 503                the usecase is switched off
├── StoreUnavailable 503         the store can't serve now
├── StoreFull 507                no room for these bytes
└── Damaged 500                  stored bytes are not the bytes that were stored
"""

from typing import ClassVar


class PannierError(Exception):
    """Root of the tree; `str()` is a message for the caller."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "service error"
    ordinary: ClassVar[bool] = False  # the answer to a fair question: nothing to log


class BadRequest(PannierError):
    status = 400
    kind = "client error"


class ExpirationRefused(BadRequest):
    pass


class ObjectNotFound(PannierError):
    status = 404
    kind = "client error"
    ordinary = True


class ObjectExpired(ObjectNotFound):
    pass


class UsecaseUnknown(PannierError):
    status = 404
    kind = "client error"


class RouteUnknown(PannierError):
    status = 404
    kind = "client error"


class MethodNotAllowed(PannierError):
    """Carries the methods that the path does take."""

    status = 405
    kind = "client error"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotAcceptable(PannierError):
    status = 406
    kind = "client error"


class RequestTimeout(PannierError):
    status = 408
    kind = "client error"


class PreconditionFailed(PannierError):
    status = 412
    kind = "client error"
    ordinary = True

    def __init__(self) -> None:
        super().__init__("the object is not in the state that the request's conditions ask for")


class TooLarge(PannierError):
    status = 413
    kind = "client error"


class RangeNotSatisfiable(PannierError):
    """Carries the size of the representation, in bytes."""

    status = 416
    kind = "client error"
    ordinary = True

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class ExpectationFailed(PannierError):
    status = 417
    kind = "client error"


class HeadTooLarge(PannierError):
    status = 431
    kind = "client error"


class NotOffered(PannierError):
    status = 501
    kind = "client error"
    ordinary = True


class ReadOnly(PannierError):
    status = 403
    kind = "client error"


class Suspended(PannierError):
    status = 503


class StoreUnavailable(PannierError):
    status = 503


class StoreFull(PannierError):
    status = 507

    def __init__(self) -> None:
        super().__init__("the store is full: delete objects or give it more room")


class Damaged(PannierError):
    pass
