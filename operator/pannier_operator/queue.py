"""Keys that wait for work: however often one is added, it waits once and is worked on by one."""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from time import monotonic

from pannier_operator.pace import Backoff


class Queue:
    """Gives out keys when they are due, failed ones later each time. Times in seconds.

    A new key is due after `settle`, so that a burst of hints is worked on once. Of those that take
    turns `at_once` are let in together.
    """

    def __init__(
        self,
        backoff: Backoff,
        settle: float = 0.1,
        clock: Callable[[], float] = monotonic,
        at_once: int = 1,
    ) -> None:
        self._backoff = backoff
        self._settle = settle
        self._clock = clock
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._at_once = at_once
        self._turns: dict[str, None] = {}
        self._having_turn: set[str] = set()
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Queue {len(self._due)} waiting {len(self._busy)} busy>"

    @property
    def depth(self) -> int:
        """How many keys wait, those that wait out a failure included."""
        return len(self._due.keys() | self._turns.keys() | self._again)

    @property
    def active(self) -> int:
        """How many are being worked on."""
        return len(self._busy)

    def age(self) -> float:
        """How long the oldest key that is due has waited for somebody to take it."""
        earliest = self._earliest()
        return 0.0 if earliest is None else max(0.0, self._clock() - earliest)

    def add(self, key: str) -> None:
        """Have `key` worked on soon; after the work on it that goes on, if any."""
        if key in self._busy:
            self._again.add(key)
        else:
            self._wait(key, self._clock() + self._settle)

    def add_in_turn(self, keys: Iterable[str]) -> None:
        """Have all `keys` worked on, a few at a time: one that is added waits for those only."""
        self._turns |= dict.fromkeys(key for key in keys if key not in self._due)
        self._let_in()

    async def get(self) -> str:
        """The next key that is due. Whoever gets it says `done` or `failed` of it."""
        while True:
            self._changed.clear()
            earliest = self._earliest()
            if earliest is not None and earliest <= self._clock():
                return self._taken()
            await self._until(earliest)

    def done(self, key: str) -> None:
        """The work on `key` is done."""
        self._failures.pop(key, None)
        self._finished(key)

    def failed(self, key: str, at_least: float = 0.0) -> None:
        """The work on `key` came to nothing: it waits longer each time, at least `at_least`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._finished(key)
        self._wait(key, self._clock() + max(at_least, self._backoff.delay(failures)))

    def _finished(self, key: str) -> None:
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._wait(key, self._clock() + self._settle)
        self._having_turn.discard(key)
        self._let_in()

    def _let_in(self) -> None:
        while self._turns and len(self._having_turn) < self._at_once:
            key = next(iter(self._turns))
            del self._turns[key]
            self._having_turn.add(key)
            self.add(key)

    def _wait(self, key: str, due: float) -> None:
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    def _taken(self) -> str:
        _, key = heapq.heappop(self._heap)
        del self._due[key]
        self._turns.pop(key, None)
        self._busy.add(key)
        return key

    def _earliest(self) -> float | None:
        """When the next key is due; entries that an earlier one overtook are dropped."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    async def _until(self, moment: float | None) -> None:
        timeout = None if moment is None else max(0.0, moment - self._clock())
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            pass
