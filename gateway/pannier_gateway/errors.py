"""What can go wrong, as the caller sees it. An error knows its own HTTP status.

PannierError 500
├── ClientError 400                  the request is at fault, not the gateway
│   ├── BadRequest 400               it contradicts itself or the protocol
│   │   └── ExpirationRefused 400    outside what the usecase allows
│   ├── ReadOnly 403                 the bucket takes no writes
│   ├── ObjectNotFound 404           absent
│   │   └── ObjectExpired 404        its time is over
│   ├── UsecaseUnknown 404           nobody declared it
│   ├── RouteUnknown 404             no such path
│   ├── MethodNotAllowed 405         carries the methods that the path takes
│   ├── NotAcceptable 406            no representation that the caller accepts
│   ├── RequestTimeout 408           the body stopped coming
│   ├── PreconditionFailed 412       if-match and its kin
│   ├── TooLarge 413                 above the usecase's maxObjectBytes
│   ├── RangeNotSatisfiable 416      carries the size that the range missed
│   ├── ExpectationFailed 417        an `expect` that is none
│   ├── HeadTooLarge 431             the request line or a header is too long
│   └── NotOffered 501               a part of the protocol that this version lacks
├── Suspended 503                    the usecase is switched off
├── StoreUnavailable 503             the store can't serve now
├── StoreFull 507                    no room for these bytes
└── Damaged 500                      stored bytes are not the bytes that were stored
"""

from typing import ClassVar


class PannierError(Exception):
    """Root of the tree; `str()` is a message for the caller."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "service error"
    ordinary: ClassVar[bool] = False  # the answer to a fair question: nothing to log


class ClientError(PannierError):
    status = 400
    kind = "client error"


class BadRequest(ClientError):
    pass


class ExpirationRefused(BadRequest):
    pass


class ReadOnly(ClientError):
    status = 403


class ObjectNotFound(ClientError):
    status = 404
    ordinary = True


class ObjectExpired(ObjectNotFound):
    pass


class UsecaseUnknown(ClientError):
    status = 404


class RouteUnknown(ClientError):
    status = 404


class MethodNotAllowed(ClientError):
    status = 405

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotAcceptable(ClientError):
    status = 406


class RequestTimeout(ClientError):
    status = 408


class PreconditionFailed(ClientError):
    status = 412
    ordinary = True

    def __init__(self) -> None:
        super().__init__("the object is not in the state that the request's conditions ask for")


class TooLarge(ClientError):
    status = 413


class RangeNotSatisfiable(ClientError):
    """Carries the size of the representation, in bytes."""

    status = 416
    ordinary = True

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class ExpectationFailed(ClientError):
    status = 417


class HeadTooLarge(ClientError):
    status = 431


class NotOffered(ClientError):
    status = 501
    ordinary = True


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
