"""What time it is, as a value that can be handed in: tests bring a clock of their own."""

from collections.abc import Callable
from time import time_ns

Clock = Callable[[], int]


def system_clock() -> int:
    """Microseconds since the epoch, UTC."""
    return time_ns() // 1000
