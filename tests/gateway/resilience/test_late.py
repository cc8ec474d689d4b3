"""Uploads that are late are sent once more, and none comes after a later one."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import PannierError, StoreRefused, StoreUnavailable
from pannier_gateway.resilience.hedging import HedgePolicy, Hedging
from pannier_gateway.resilience.late import Doubled, Ghosts, LateStore
from pannier_gateway.stores.base import Draft, Record, Source, Store
from pannier_gateway.stores.memory import MemoryStore
from support.faulty import ManualAlarm, broken_off, unreachable
from support.hostile import Wrapped
from support.jumps import turns
from support.stores import ManualClock, put, read, streamed

CREATE = Conditions(if_none_match=("*",))


class SlowToStore(Wrapped):
    """Each upload waits until it is let through, or fails as it is told."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.puts: list[asyncio.Future[None]] = []
        self.asked: list[str] = []
        self.left = 0  # cancelled while they waited

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        self.asked.append("put")
        self.puts.append(asyncio.get_running_loop().create_future())
        try:
            await self.puts[-1]
        except asyncio.CancelledError:
            self.left += 1
            raise
        return await super().put(path, source, draft, conditions)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        self.asked.append("delete")
        return await super().delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        self.asked.append("touch")
        return await super().touch(path, etag, expires)


class Trial:
    """A store that is slow to store, with second uploads that a test rings for."""

    def __init__(self, policy: HedgePolicy = HedgePolicy(uploads=True)) -> None:  # noqa: B008  # frozen
        self.counted: list[tuple[str, str]] = []
        self.alarm = ManualAlarm()
        self.base = MemoryStore(ManualClock())
        self.slow = SlowToStore(self.base)
        self.ghosts = Ghosts()
        self.hedging = Hedging(
            policy, lambda *what: self.counted.append(what), lambda: True, lambda: self.alarm
        )
        self.store = LateStore(self.slow, self.hedging, self.ghosts)

    async def late(self, body: bytes = b"old", path: str = "k") -> "asyncio.Task[Record]":
        """An upload that has been sent twice."""
        task = asyncio.create_task(put(self.store, path, body))
        await turns()
        self.alarm.ring()
        await turns()
        return task

    async def overtaken(self) -> None:
        """An upload of which the second has been stored, and the first is under way."""
        task = await self.late()
        await self.end(1)
        await task

    async def end(self, number: int, error: Exception | None = None) -> None:
        if error is None:
            self.slow.puts[number].set_result(None)
        else:
            self.slow.puts[number].set_exception(error)
        await turns()


@pytest.mark.parametrize(("number", "outcome"), [(1, "won"), (0, "lost")])
async def test_the_first_that_is_stored_is_told(number: int, outcome: str) -> None:
    trial = Trial()
    task = await trial.late()

    await trial.end(number)

    assert (await task).size == 3
    assert trial.counted == [("put", outcome)]
    assert trial.slow.left == 0  # the other goes on: nobody can call it back


WRITES: dict[str, Callable[[Store], Coroutine[object, object, object]]] = {
    "put": lambda store: put(store, "k", b"new"),
    "put, streamed": lambda store: put(store, "k", streamed(b"new")),
    "delete": lambda store: store.delete("k"),
    "touch": lambda store: store.touch("k", "1", 1 << 60),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_late_write_never_comes_after_a_later_one(write: str) -> None:
    trial = Trial()
    await trial.overtaken()

    later = asyncio.create_task(WRITES[write](trial.store))
    await turns()
    waited = list(trial.slow.asked)
    await trial.end(0)
    for future in trial.slow.puts[2:]:
        future.set_result(None)
    await later

    assert waited == ["put", "put"]
    assert trial.slow.asked[2:] == [write.partition(",")[0]]
    assert repr(trial.ghosts) == "<Ghosts at 0 paths>"


async def test_what_is_later_is_what_stays() -> None:
    trial = Trial()
    await trial.overtaken()

    later = asyncio.create_task(put(trial.store, "k", b"new"))
    await turns()
    await trial.end(0)
    await trial.end(2)
    await later

    assert await read(trial.base, "k") == b"new"


async def test_other_paths_do_not_wait() -> None:
    trial = Trial()
    await trial.overtaken()

    other = asyncio.create_task(put(trial.store, "other", b"x"))
    await turns()
    await trial.end(2)

    assert (await other).path == "other"


async def test_a_late_one_that_fails_keeps_nobody_waiting() -> None:
    trial = Trial()
    await trial.overtaken()

    await trial.end(0, unreachable())

    assert await trial.store.delete("k")


async def test_one_that_never_ends_keeps_nobody_waiting_for_ever() -> None:
    trial = Trial()
    trial.ghosts.seconds = 0.01
    await trial.overtaken()

    assert await trial.store.delete("k")
    assert trial.slow.left == 1


async def test_an_upload_with_conditions_is_sent_once() -> None:
    trial = Trial()
    task = asyncio.create_task(put(trial.store, "k", b"x", CREATE))
    await turns()
    trial.alarm.ring()
    await turns()

    await trial.end(0)
    await task

    assert trial.slow.asked == ["put"]


@pytest.mark.parametrize("policy", [HedgePolicy(enabled=False, uploads=True), HedgePolicy()])
async def test_an_upload_is_sent_once_where_nobody_wants_it_twice(policy: HedgePolicy) -> None:
    trial = Trial(policy)
    task = await trial.late()

    await trial.end(0)
    await task

    assert trial.slow.asked == ["put"]


async def test_a_failure_is_mended_by_the_other() -> None:
    trial = Trial()
    task = await trial.late()

    await trial.end(0, unreachable())
    await trial.end(1)

    assert (await task).size == 3
    assert trial.counted == [("put", "won")]


@pytest.mark.parametrize(("error", "sent"), [(broken_off(), 3), (StoreRefused("the key"), 2)])
async def test_a_second_that_fails_in_passing_is_sent_once_more(
    error: Exception, sent: int
) -> None:
    trial = Trial(HedgePolicy(share=5.0, uploads=True))
    task = await trial.late()

    await trial.end(1, error)
    await trial.end(sent - 1 if sent > 2 else 0)

    assert (await task).size == 3
    assert trial.slow.asked == ["put"] * sent


async def test_two_that_are_late_are_followed_by_a_third() -> None:
    trial = Trial(HedgePolicy(share=5.0, uploads=True))
    task = await trial.late()

    trial.alarm.ring()
    await turns()
    await trial.end(2)

    assert (await task).size == 3
    assert (trial.slow.asked, trial.slow.left) == (["put"] * 3, 0)


async def test_what_is_stored_is_not_sent_again() -> None:
    trial = Trial()
    send = lambda: put(trial.slow, "k", b"x")  # noqa: E731  # as short as what it does
    doubled = Doubled(trial.hedging, trial.hedging.put(1), send)
    task = asyncio.create_task(doubled.run())
    await turns()

    await trial.end(0)
    doubled.ring()
    await turns()

    assert (await task).size == 1
    assert trial.slow.asked == ["put"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_when_both_fail_what_is_open_is_told(order: tuple[int, int]) -> None:
    trial = Trial()
    task = await trial.late()

    await trial.end(order[0], StoreRefused("no"))
    await trial.end(order[1], StoreUnavailable("who knows"))

    with pytest.raises(PannierError, match="who knows"):
        await task
    assert trial.counted == [("put", "failed")]


async def test_whoever_leaves_takes_both_along() -> None:
    trial = Trial()
    task = await trial.late()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()

    assert trial.slow.left == 2


async def test_of_parts_the_other_is_cancelled() -> None:
    trial = Trial()
    send = lambda: put(trial.slow, "k", b"part")  # noqa: E731  # as short as what it does
    task = asyncio.create_task(trial.ghosts.sent(trial.hedging, 4, None, send))
    await turns()
    trial.alarm.ring()
    await turns()

    await trial.end(1)
    await task
    await turns()

    assert trial.slow.left == 1


def test_large_uploads_are_not_measured_by_small_ones() -> None:
    hedging = Trial().hedging

    assert hedging.put(1 << 10) is hedging.put(3 << 9)
    assert hedging.put(1 << 10) is not hedging.put(1 << 20)
    assert hedging.delay(hedging.put(1 << 10)) == 0.5
    assert hedging.delay(hedging.put(1 << 20)) == 2.0  # the store may be asked for consent first
