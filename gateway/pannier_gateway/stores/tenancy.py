"""Who holds which store open: each configuration its own, for as long as requests use it."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Generic, Protocol, TypeVar, runtime_checkable

from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.threads import to_the_end


class Losable(Protocol):
    """A store whose place may be taken from it."""

    @property
    def lost(self) -> bool: ...


@runtime_checkable
class Replaceable(Losable, Protocol):
    """A store in whose place there may be another, ready to be opened."""

    @property
    def replaced(self) -> bool: ...


S = TypeVar("S", bound=Losable)


class Opened(Generic[S]):
    """One open store, and how many tenancies hold it."""

    def __init__(self, store: S, closing: AsyncExitStack) -> None:
        self.store = store
        self.closing = closing
        self.tenancies = 0

    def __repr__(self) -> str:
        return f"<Opened {self.store!r} for {self.tenancies}>"


class OpenStores(Generic[S]):
    """Opens a store once for all tenancies that hold it, and closes it after the last.

    An `async with` block; what is open at its end is closed.
    """

    def __init__(self) -> None:
        self._at: dict[Hashable, Opened[S]] = {}
        self._open: set[Opened[S]] = set()
        self._left: asyncio.Queue[Opened[S]] = asyncio.Queue()
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<OpenStores {self._open}>"

    async def __aenter__(self) -> "OpenStores[S]":
        return self

    async def __aexit__(self, *_: object) -> None:
        for opened in list(self._open):
            await self._close(opened)

    async def run(self) -> None:
        """Close what nobody holds any more, until cancelled."""
        while True:
            opened = await self._left.get()
            async with self._changing:
                if not opened.tenancies and opened in self._open:
                    await self._close(opened)

    async def hold(
        self, place: Hashable, start: Callable[[], AbstractAsyncContextManager[S]]
    ) -> Opened[S]:
        """The store at `place`, for one tenancy more; opened where it is not.

        A lost one goes on once its files are back. It makes way where nobody holds it, and for what
        replaced it: until those who still hold it have left, that raises StoreUnavailable.
        """
        async with self._changing:
            opened = self._at.get(place)
            if opened is not None and opened.store.lost and await self._makes_way(opened):
                opened = None
            if opened is None:
                async with AsyncExitStack() as closing:
                    store = await closing.enter_async_context(start())
                    opened = self._at[place] = Opened(store, closing.pop_all())
                self._open.add(opened)
            opened.tenancies += 1
        return opened

    def let_go(self, opened: Opened[S]) -> None:
        opened.tenancies -= 1
        if not opened.tenancies:
            self._left.put_nowait(opened)

    async def _makes_way(self, opened: Opened[S]) -> bool:
        if not opened.tenancies:
            await self._close(opened)
            return True
        if isinstance(opened.store, Replaceable) and opened.store.replaced:
            raise StoreUnavailable(
                "the store's files were replaced while it was in use: what is there now is opened "
                "once nothing uses the old ones"
            )
        return False

    async def _close(self, opened: Opened[S]) -> None:
        self._open.discard(opened)
        self._at = {place: each for place, each in self._at.items() if each is not opened}
        await to_the_end(asyncio.ensure_future(opened.closing.aclose()))


class Tenancy(Generic[S]):
    """The stores of one configuration; a `with` block around each request that goes by it.

    They are let go once the configuration has ended and the last of its requests has left.
    """

    def __init__(self, stores: OpenStores[S]) -> None:
        self._stores = stores
        self._held: list[Opened[S]] = []
        self._requests = 0
        self._ended = False

    def __repr__(self) -> str:
        return f"<Tenancy {self._held}, {self._requests} requests>"

    async def open(self, place: Hashable, start: Callable[[], AbstractAsyncContextManager[S]]) -> S:
        """The store at `place`, which `start` opens if need be."""
        opened = await self._stores.hold(place, start)
        self._held.append(opened)
        return opened.store

    def end(self) -> None:
        """No more requests will come."""
        self._ended = True
        self._let_go()

    def __enter__(self) -> None:
        self._requests += 1

    def __exit__(self, *_: object) -> None:
        self._requests -= 1
        if self._ended:
            self._let_go()

    def _let_go(self) -> None:
        if not self._requests:
            for opened in self._held:
                self._stores.let_go(opened)
            self._held.clear()
