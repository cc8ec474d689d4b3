"""The process that a storm kills: `python -m support.storm_writer`.

Each line on standard input orders one writer, which is forked from this process, so that it need
not import anything, and rages until somebody kills it. What it does goes to standard output, a line
each, before it is begun and after it was acknowledged.
"""

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import msgspec

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import PreconditionFailed
from pannier_gateway.stores.base import Attributes, Store
from pannier_gateway.stores.file import Durability, FileStore
from support.ledger import Operation, Verb
from support.stores import draft, streamed, whole

WRITERS = 6
OWN_KEYS = 4  # of each writer, written by nobody else
SHARED_KEYS = 5  # of a round, fought over by creators
VERBS: tuple[Verb, ...] = ("put", "create", "delete")
SMALL = 64 * 1024
SIZES = (0, 1, 100, 4096, 20_000, SMALL, SMALL + 1, 200_000, 300_000, 700_000, 1_300_000)
PIECE = 100_000  # bytes in which large bodies come
CREATE = Conditions(if_none_match=("*",))


class Orders(msgspec.Struct, frozen=True):
    """What a writer is to do until it is killed."""

    root: str
    seed: int
    first: int  # number that no operation before it had
    durability: Durability


class Started(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pid: int


class Done(msgspec.Struct, frozen=True, tag=True, array_like=True):
    number: int


class Refused(msgspec.Struct, frozen=True, tag=True, array_like=True):
    number: int


class Dead(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pid: int


Message = Operation | Started | Done | Refused | Dead


class Dice:
    """What one writer does next."""

    def __init__(self, seed: int, writer: int, numbers: Iterator[int]) -> None:
        self._seed = seed
        self._writer = writer
        self._numbers = numbers
        self._random = random.Random(f"{seed}/{writer}")

    def operation(self) -> Operation:
        (verb,) = self._random.choices(VERBS, (6, 2, 2))
        size = 0 if verb == "delete" else self._random.choice(SIZES)
        return Operation(next(self._numbers), verb, self._key(verb), size)

    def _key(self, verb: Verb) -> str:
        if verb == "create":
            return f"shared/{self._seed}/{self._random.randrange(SHARED_KEYS)}"
        return f"own/{self._writer}/{self._random.randrange(OWN_KEYS)}"


def main() -> None:
    for line in sys.stdin.buffer:
        orders = msgspec.json.decode(line, type=Orders)
        pid = os.fork()
        if pid == 0:
            asyncio.run(rage(orders))
        tell(Started(pid))
        os.waitpid(pid, 0)
        tell(Dead(pid))


async def rage(orders: Orders) -> None:
    """Write and delete, several at a time, for ever."""
    numbers = count(orders.first)
    root = Path(orders.root)
    with ThreadPoolExecutor(2) as pool:
        async with FileStore.start(root, pool, durability=orders.durability) as store:
            await asyncio.gather(
                *(write(store, Dice(orders.seed, each, numbers)) for each in range(WRITERS))
            )


async def write(store: Store, dice: Dice) -> None:
    while True:
        operation = dice.operation()
        tell(operation)
        try:
            await perform(store, operation)
        except PreconditionFailed:
            tell(Refused(operation.number))
        else:
            tell(Done(operation.number))


async def perform(store: Store, operation: Operation) -> None:
    if operation.verb == "delete":
        await store.delete(operation.key)
        return
    body = operation.body
    source = whole(body) if len(body) <= SMALL else streamed(body, PIECE)
    described = Attributes(custom={"version": str(operation.number)})
    conditions = CREATE if operation.verb == "create" else UNCONDITIONAL
    await store.put(operation.key, source, draft(attributes=described), conditions)


def tell(message: Message) -> None:
    """A line that the pipe takes whole or not at all, being short."""
    os.write(sys.stdout.fileno(), msgspec.json.encode(message) + b"\n")


if __name__ == "__main__":
    main()
