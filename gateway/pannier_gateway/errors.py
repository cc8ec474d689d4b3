"""What can go wrong, as the caller sees it. An error knows its own HTTP status.

PannierError 500
├── ClientError 400                  the request is at fault, not the gateway
│   ├── BadRequest 400               it contradicts itself or the protocol
│   │   └── ExpirationRefused 400    outside what the usecase allows
│   ├── ReadOnly 403                 the bucket takes no writes
│   ├── ForeignPage 403              a web page asks, not a program
│   ├── NotPermitted 403             the client's certificate is not for that
│   ├── ObjectNotFound 404           absent
│   │   └── ObjectExpired 404        its time is over
│   ├── UsecaseUnknown 404           nobody declared it
│   │   └── UsecaseRefused 404       somebody did, and it can't be served
│   ├── RouteUnknown 404             no such path
│   ├── MethodNotAllowed 405         carries the methods that the path takes
│   ├── NotAcceptable 406            no representation that the caller accepts
│   ├── RequestTimeout 408           the body stopped coming
│   ├── PreconditionFailed 412       if-match and its kin
│   ├── TooLarge 413                 above the usecase's maxObjectBytes, or what a store keeps
│   ├── RangeNotSatisfiable 416      carries the size that the range missed
│   ├── ExpectationFailed 417        an `expect` that is none
│   ├── LimitReached 429             carries when to ask again
│   ├── HeadTooLarge 431             the request line or a header is too long
│   └── NotOffered 501               a part of the protocol that this version lacks
├── StoreRefused 502                 the store won't: credentials, bucket, region, certificate
│   └── ArrivedDamaged 502           what it got is not what was sent
├── StoreMisanswered 502             what answers is no store, or not the one that was meant
├── NoConfiguration 503              the gateway waits for its first one
├── Suspended 503                    the usecase is switched off
├── StoreUnavailable 503             the store can't serve now
│   └── StoreBusy 503                it asks for fewer requests; carries when to ask again
├── Overloaded 503                   the gateway has enough to do; carries when to ask again
├── MemoryFull 503                   bodies in flight hold all of it; carries when to ask again
├── ObjectReplaced 503               while it was read: what was read is not all of one version
├── StoreTimedOut 504                the store did not answer in time
├── StoreFull 507                    no room for these bytes
└── Damaged 500                      stored bytes are not the bytes that were stored
"""

from math import ceil
from typing import ClassVar


class PannierError(Exception):
    """Root of the tree; `str()` is a message for the caller."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "service error"
    ordinary: ClassVar[bool] = False  # the answer to a fair question: nothing to log
    retry_after: int | None = None  # seconds to wait before asking again, where that is known


class ClientError(PannierError):
    status = 400
    kind = "client error"


class BadRequest(ClientError):
    pass


class ExpirationRefused(BadRequest):
    pass


class ReadOnly(ClientError):
    status = 403


class ForeignPage(ClientError):
    status = 403


class NotPermitted(ClientError):
    status = 403


class ObjectNotFound(ClientError):
    status = 404
    ordinary = True


class ObjectExpired(ObjectNotFound):
    pass


class UsecaseUnknown(ClientError):
    status = 404


class UsecaseRefused(UsecaseUnknown):
    pass


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


class LimitReached(ClientError):
    status = 429
    retry_after: int

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(f"{message}: ask again in {retry_after} s")
        self.retry_after = retry_after


class HeadTooLarge(ClientError):
    status = 431


class NotOffered(ClientError):
    status = 501
    ordinary = True


class NoConfiguration(PannierError):
    status = 503
    retry_after = 1


class Suspended(PannierError):
    status = 503


class StoreUnavailable(PannierError):
    status = 503


class StoreBusy(StoreUnavailable):
    """Carries how many seconds the store says to wait; None where it does not."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait
        self.retry_after = 1 if wait is None else max(1, ceil(wait))


class Overloaded(PannierError):
    status = 503
    retry_after = 1


class MemoryFull(PannierError):
    status = 503
    retry_after = 5

    def __init__(self) -> None:
        super().__init__(
            "other clients' bodies hold all the memory there is for them: ask again later "
            "(reading takes less of it with accept-encoding: zstd)"
        )


class StoreRefused(PannierError):
    status = 502


class ArrivedDamaged(StoreRefused):
    pass


class StoreMisanswered(PannierError):
    status = 502


class ObjectReplaced(PannierError):
    status = 503
    retry_after = 1


class StoreTimedOut(PannierError):
    status = 504


class StoreFull(PannierError):
    status = 507

    def __init__(self) -> None:
        super().__init__("the store is full: delete objects or give it more room")


class Damaged(PannierError):
    pass
