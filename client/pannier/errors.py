"""What can go wrong, as one tree. Each error says what was asked for and what was answered.

PannierError
├── RequestRefused              the server understood and said no
│   ├── Unauthenticated         401
│   ├── PermissionDenied        403, also a PermissionError
│   ├── NotFound                404, also a FileNotFoundError
│   ├── PreconditionFailed      412
│   │   └── AlreadyExists       412 to if_none_match="*", also a FileExistsError
│   ├── TooLarge                413
│   └── RangeNotSatisfiable     416
├── NotModified                 304, the answer to if_none_match on a read
├── ServerError                 5xx
│   └── StorageFull             507
├── TransientError              the same request may succeed later, see `retry_after`
│   ├── Overloaded              429, 503
│   ├── BadGateway              502, 504
│   ├── ConnectionFailed        also a ConnectionError
│   └── RequestTimeout          also a TimeoutError
├── IntegrityError              the bytes are not the ones that were promised
│   ├── TruncatedBody           a download broke off, also a ConnectionError
│   └── SourceChanged           an upload's source gave fewer or more bytes than its size
└── ProtocolError               what answers there does not speak this protocol

Beside the tree, a wrong argument is a plain ValueError or TypeError, raised before anything is
sent, and so is the use of a closed client or result.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subject:
    """What was being done, and to what."""

    operation: str
    usecase: str
    key: str | None = None

    def __str__(self) -> str:
        if self.key is None:
            return f"{self.operation} usecase {self.usecase!r}"
        return f"{self.operation} {self.key!r} in usecase {self.usecase!r}"


class PannierError(Exception):
    """The root. Fields: `subject`, `status` of the answer, `detail` as the server worded it, and
    `retry_after`, the seconds that it asked to wait; None where there was none."""

    def __init__(
        self,
        message: str,
        subject: Subject | None = None,
        *,
        status: int | None = None,
        detail: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message if subject is None else f"{subject}: {message}")
        self.subject = subject
        self.status = status
        self.detail = detail
        self.retry_after = retry_after

    @property
    def operation(self) -> str | None:
        return self.subject.operation if self.subject else None

    @property
    def usecase(self) -> str | None:
        return self.subject.usecase if self.subject else None

    @property
    def key(self) -> str | None:
        return self.subject.key if self.subject else None


class RequestRefused(PannierError):
    """The server understood the request and refused it (4xx): it will not succeed as it is."""


class Unauthenticated(RequestRefused):
    """The server wants to know who asks, or does not believe it (401)."""


class PermissionDenied(RequestRefused, PermissionError):
    """Not for this caller (403)."""


class NotFound(RequestRefused, FileNotFoundError):
    """No such object, or it has expired; on writes and lists, no such usecase (404)."""


class PreconditionFailed(RequestRefused):
    """The object is not in the state that if_match or if_none_match asks for (412)."""


class AlreadyExists(PreconditionFailed, FileExistsError):
    """A create-only put found an object under its key."""


class TooLarge(RequestRefused):
    """The object is larger than its usecase allows (413)."""


class RangeNotSatisfiable(RequestRefused):
    """The range lies behind the end of the object (416)."""


class NotModified(PannierError):
    """The object still has the ETag given as if_none_match (304)."""


class ServerError(PannierError):
    """The server failed (5xx)."""


class StorageFull(ServerError):
    """The store has no room left (507)."""


class TransientError(PannierError):
    """Trying again may help; `retry_after` is the server's advice in seconds, where it gave one."""


class Overloaded(TransientError):
    """The server takes no more at present (429, 503)."""


class BadGateway(TransientError):
    """Something between here and the store failed (502, 504)."""


class ConnectionFailed(TransientError, ConnectionError):
    """The server could not be reached, or the connection ended before an answer came."""


class RequestTimeout(TransientError, TimeoutError):
    """The server was silent for longer than the timeout."""


class IntegrityError(PannierError):
    """Bytes went missing or turned up; nothing that arrived is to be trusted as the whole."""


class TruncatedBody(IntegrityError, ConnectionError):
    """The body ended before its announced end."""


class SourceChanged(IntegrityError):
    """The data to upload did not have the size it was measured at; nothing was stored."""


class ProtocolError(PannierError):
    """The answer is not one that the objectstore protocol knows."""
