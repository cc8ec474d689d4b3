"""How much there was lately: a sum over the last seconds, in steps of one."""


class Window:
    """The sum of what was added in the last `seconds`."""

    __slots__ = ("_second", "_slots", "_sum")

    def __init__(self, seconds: int) -> None:
        self._slots = [0] * seconds
        self._second = 0
        self._sum = 0

    def __repr__(self) -> str:
        return f"<Window {self._sum} in {len(self._slots)} s>"

    def add(self, now: float, amount: int = 1) -> None:
        second = int(now)
        if second != self._second:
            self._move(second)
        self._slots[second % len(self._slots)] += amount
        self._sum += amount

    def sum(self, now: float) -> int:
        self._move(int(now))
        return self._sum

    def clear(self) -> None:
        self._slots = [0] * len(self._slots)
        self._sum = 0

    def _move(self, second: int) -> None:
        """Forget what is too old by now."""
        size = len(self._slots)
        for passed in range(max(self._second, second - size) + 1, second + 1):
            self._sum -= self._slots[passed % size]
            self._slots[passed % size] = 0
        self._second = max(second, self._second)
