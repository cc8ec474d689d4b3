"""Who writes after a look is alone at a path; who has not looked goes with others like him."""

import asyncio
from collections.abc import Sequence

import pytest

from pannier_gateway.stores.s3.turns import Turns


class Crowd:
    """Those who have had their turn, and how it went."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.go_on = asyncio.Event()
        self.inside: list[str] = []
        self.met: list[tuple[str, ...]] = []  # who was inside, whenever somebody came

    async def take(self, name: str) -> None:
        async with self.turns.at("path", shared=name.startswith("shared")):
            self.inside.append(name)
            self.met.append(tuple(self.inside))
            await self.go_on.wait()
            self.inside.remove(name)

    async def come(self, names: Sequence[str]) -> list[asyncio.Task[None]]:
        """Each in turn, and as far as it gets."""
        tasks = [asyncio.create_task(self.take(name)) for name in names]
        for _ in range(10):
            await asyncio.sleep(0)
        return tasks


@pytest.mark.parametrize(
    ("names", "met"),
    [
        (["a", "b"], [("a",), ("b",)]),
        (["shared 1", "shared 2"], [("shared 1",), ("shared 1", "shared 2")]),
        (["shared", "a"], [("shared",), ("a",)]),
        (["a", "shared 1", "shared 2"], [("a",), ("shared 1",), ("shared 1", "shared 2")]),
        (["shared 1", "a", "shared 2"], [("shared 1",), ("a",), ("shared 2",)]),
    ],
)
async def test_only_those_who_share_meet(names: list[str], met: list[tuple[str, ...]]) -> None:
    crowd = Crowd()
    before = await crowd.come(names[:1])
    tasks = before + await crowd.come(names[1:])

    for _ in tasks:
        crowd.go_on.set()
        await asyncio.sleep(0)
        crowd.go_on.clear()
        for _ in range(10):
            await asyncio.sleep(0)

    assert crowd.met == met
    assert all(task.done() for task in tasks)
    assert repr(crowd.turns) == "<Turns at 0 paths>"


async def test_who_gives_up_waiting_is_in_nobodys_way() -> None:
    crowd = Crowd()
    first, second, third = await crowd.come(["shared", "a", "b"])
    second.cancel()
    await asyncio.wait([second])

    crowd.go_on.set()
    await asyncio.gather(first, third)

    assert crowd.met == [("shared",), ("b",)]
    assert repr(crowd.turns) == "<Turns at 0 paths>"


async def test_paths_do_not_wait_for_each_other() -> None:
    turns = Turns()

    async with turns.at("a"), turns.at("b"), turns.at("c", shared=True):
        assert repr(turns) == "<Turns at 3 paths>"
