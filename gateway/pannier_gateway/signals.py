"""How a process is told to end, in its own time or at once."""

import asyncio
import signal
from collections.abc import Callable

INTERRUPTED = 128 + signal.SIGINT  # what shells make of a process that SIGINT has ended


def heed(ending: asyncio.Event, end_at_once: Callable[[], None]) -> None:
    """Have SIGINT and SIGTERM set `ending`, and SIGINT after that `end_at_once`.

    SIGTERM may well come twice: many a supervisor tells a process and then its whole group.
    """

    def interrupted() -> None:
        if ending.is_set():
            end_at_once()
        ending.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
