"""Event loops of threads, which end no sooner than their connections.

Who leaves a TLS connection says goodbye, and its socket is open until the other side has, too. A
program that ends need not wait for that; in a loop that ends before it the socket would be left.
"""

import asyncio
from collections.abc import Coroutine
from selectors import DefaultSelector

_SECONDS = 10


def run(main: Coroutine[None, None, None]) -> None:
    """As `asyncio.run`. Raises what `main` raises, and TimeoutError if connections stay open."""
    selector = DefaultSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        try:
            runner.run(main)
        finally:
            runner.run(_goodbyes(selector))


async def _goodbyes(selector: DefaultSelector) -> None:
    async with asyncio.timeout(_SECONDS):
        while len(selector.get_map()) > 1:  # noqa: ASYNC110  # sockets; one is the loop's own
            await asyncio.sleep(0.01)
