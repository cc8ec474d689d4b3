import asyncio
from collections.abc import Iterable

import pytest

from pannier_operator.api import Unreachable
from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.sharing import SharedBuckets


class Slow:
    """Lists only when a test lets it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ends: list[asyncio.Future[tuple[Bucket, ...]]] = []

    async def buckets(self, namespace: str) -> Iterable[Bucket]:
        self.begun.append(namespace)
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]


async def turns() -> None:
    """Let everything happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_during_a_list_waits_for_the_next_one_and_shares_it() -> None:
    source = Slow()
    shared = SharedBuckets(source, pause=0)

    first = asyncio.create_task(shared.buckets("a"))
    await turns()
    later = [asyncio.create_task(shared.buckets("a")) for _ in range(50)]
    await turns()
    assert source.begun == ["a"]

    source.ends[0].set_result(())
    await turns()
    assert first.done()
    assert not any(each.done() for each in later)
    assert source.begun == ["a", "a"]

    source.ends[1].set_result(())
    await asyncio.gather(*later)
    await turns()
    assert repr(shared) == "<SharedBuckets 0 listed just now>"


async def test_a_list_gathers_those_who_ask_soon_after_the_one_before() -> None:
    source = Slow()
    shared = SharedBuckets(source, pause=3600)
    first = asyncio.create_task(shared.buckets("a"))
    await turns()
    source.ends[0].set_result(())
    await first

    later = [asyncio.create_task(shared.buckets(name)) for name in ("a", "a", "b")]
    await turns()

    assert source.begun == ["a", "b"]
    for each in later:
        each.cancel()


async def test_namespaces_do_not_wait_for_each_other() -> None:
    source = Slow()
    shared = SharedBuckets(source, pause=0)

    asking = [asyncio.create_task(shared.buckets(name)) for name in ("a", "b")]
    await turns()
    assert source.begun == ["a", "b"]

    for end in source.ends:
        end.set_result(())
    await asyncio.gather(*asking)


async def test_who_gives_up_does_not_take_the_list_from_the_others() -> None:
    source = Slow()
    shared = SharedBuckets(source, pause=0)
    impatient, patient = (asyncio.create_task(shared.buckets("a")) for _ in range(2))
    await turns()

    impatient.cancel()
    await turns()
    source.ends[0].set_result(())

    assert await patient == ()


async def test_a_failure_is_told_to_those_who_waited_and_to_nobody_later() -> None:
    source = Slow()
    shared = SharedBuckets(source, pause=0)
    failing = asyncio.create_task(shared.buckets("a"))
    await turns()
    after = asyncio.create_task(shared.buckets("a"))
    await turns()

    source.ends[0].set_exception(Unreachable("no way"))
    await turns()
    source.ends[1].set_result(())

    with pytest.raises(Unreachable):
        await failing
    assert await after == ()
