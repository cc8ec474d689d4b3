"""What a driver is given against a store that fails: what it alone can put to use.

It sees each exchange, so it picks the endpoint; it has a body's parts, so it sends those again.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from pannier_gateway.stores.base import Buffer, Source

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
T = TypeVar("T")

Attempt = Callable[[], Coroutine[object, object, T]]


class Picked(Protocol[E_co]):
    """The endpoint for one exchange."""

    @property
    def target(self) -> E_co: ...

    def answered(self) -> None:
        """The first byte is there."""
        ...


class Endpoints(Protocol[E_co]):
    """Those of one bucket; `str()` says where they are."""

    def pick(self) -> AbstractContextManager[Picked[E_co]]:
        """One of them, for a block that lasts as long as the exchange and ends with its error.

        Raises StoreBusy where none is worth asking for now.
        """
        ...


class Kept(Protocol):
    """Bytes that are read as often as need be. `checksum` is their CRC64NVME."""

    @property
    def size(self) -> int: ...

    @property
    def checksum(self) -> int: ...

    def __aiter__(self) -> AsyncIterator[Buffer]: ...

    async def close(self) -> None:
        """Give back what they are kept in."""
        ...


class Provision(Protocol):
    """What the driver of one bucket is given."""

    def among(self, targets: Mapping[str, E]) -> Endpoints[E]:
        """A choice among `targets`, which are shown by their names."""
        ...

    async def again(
        self, attempt: Attempt[T], size: int | None = None, path: str | None = None
    ) -> T:
        """What `attempt` returns in the end, where its failures pass: for uploads, in parts.

        One that sends `size` bytes may be made twice at the same time, if the first is late; None:
        it never is. `path` is what it replaces: of parts of an object, nothing.
        """
        ...

    async def keep(self, source: Source) -> Kept:
        """All of `source`, to be closed. Raises Overloaded where there is no room for it."""
        ...
