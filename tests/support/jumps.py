"""The time of the running loop, which a test may put ahead: nobody has to wait for it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def jumps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The loop's clock, ahead by what is appended: all that a stopped process sees of its stop."""
    loop, ahead = asyncio.get_running_loop(), [0.0]
    clock = loop.time
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: clock() + sum(ahead))
        yield ahead


async def turns() -> None:
    """Let whatever can go on do so."""
    for _ in range(9):
        await asyncio.sleep(0)
