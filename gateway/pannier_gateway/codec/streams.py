"""Bodies on their way through the codec."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable


class Stream(AsyncIterator[bytes]):
    """The pieces of a body, as one of the codec's generators makes them.

    A reader who leaves before the end closes it, with `contextlib.aclosing`.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces

    def __anext__(self) -> Awaitable[bytes]:
        return self._pieces.__anext__()

    async def aclose(self) -> None:
        await self._pieces.aclose()
