"""What a store may show after its process was killed, given what was asked of it and what it said.

Pure. A version is the number of the operation that wrote it. What was acknowledged must be there;
what was in flight may have happened or not.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

Verb = Literal["put", "create", "delete"]


class Operation(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """One thing asked of a store: write so many bytes as version `number`, or delete."""

    number: int
    verb: Verb
    key: str
    size: int

    @property
    def body(self) -> bytes:
        """Bytes that only this operation writes."""
        return content(self.key, self.number, self.size)


class Object(NamedTuple):
    """What was found at a key."""

    version: int
    body: bytes


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass
class Tally:
    """What came of many rounds."""

    rounds: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    took_effect: int = 0
    orphans: int = 0

    def __str__(self) -> str:
        return (
            f"{self.rounds} kills: {self.acknowledged} operations acknowledged, all there; "
            f"{self.in_flight} in flight, {self.took_effect} of which took effect, whole; "
            f"{self.orphans} orphans, all collected"
        )


class Ledger:
    """Follows the operations of a round, then judges what a reader finds after it.

    A key has one writer at a time, or else any number of creators.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._settled: dict[str, int] = {}
        self._open: dict[int, Operation] = {}
        self._written: dict[int, Operation] = {}

    def __repr__(self) -> str:
        return f"<Ledger {len(self._settled)} keys, {len(self._open)} in flight>"

    def begin(self, operation: Operation) -> None:
        """Note what is about to be asked."""
        self._open[operation.number] = operation
        self._written[operation.number] = operation

    def done(self, number: int) -> None:
        """Note what was acknowledged. Raises Broken where it can't have happened."""
        operation = self._open.pop(number)
        self.tally.acknowledged += 1
        if operation.verb == "delete":
            self._settled.pop(operation.key, None)
            return
        if operation.verb == "create" and operation.key in self._settled:
            raise Broken(f"{operation} although {self._settled[operation.key]} is there")
        self._settled[operation.key] = number

    def refused(self, number: int) -> None:
        """Note a creator that came too late. Raises Broken where nobody came earlier."""
        operation = self._open.pop(number)
        rivals = (other for other in self._open.values() if other.key == operation.key)
        if operation.key not in self._settled and not any(rivals):
            raise Broken(f"{operation} was refused although nothing was there")

    def possible(self, key: str) -> set[int | None]:
        """The versions that may be at `key` (None: nothing)."""
        settled = self._settled.get(key)
        in_flight = [operation for operation in self._open.values() if operation.key == key]
        versions: set[int | None] = {settled}
        for operation in in_flight:
            if operation.verb == "delete":
                versions.add(None)
            elif operation.verb == "put" or settled is None:
                versions.add(operation.number)
        return versions

    def settle(self, found: Mapping[str, Object]) -> None:
        """End a round with what a reader found at all keys. Raises Broken."""
        for key in {*found, *self._settled}:
            self._judge(key, found.get(key))
        took_effect = [each for each in self._open.values() if took(each, found.get(each.key))]
        self.tally.rounds += 1
        self.tally.in_flight += len(self._open)
        self.tally.took_effect += len(took_effect)
        self._settled = {key: there.version for key, there in found.items()}
        self._open.clear()
        self._written = {version: self._written[version] for version in self._settled.values()}

    def forget(self, keys: Iterable[str]) -> None:
        """Know that the keys are gone."""
        for key in keys:
            del self._written[self._settled.pop(key)]

    def _judge(self, key: str, there: Object | None) -> None:
        version = None if there is None else there.version
        if version not in self.possible(key):
            raise Broken(f"{key} is at version {version}, possible were {self.possible(key)}")
        if there is not None and there.body != self._written[there.version].body:
            raise Broken(f"{key} has other bytes than {self._written[there.version]} wrote")


def took(operation: Operation, there: Object | None) -> bool:
    """Whether an operation of which nothing more was heard has happened."""
    if operation.verb == "delete":
        return there is None
    return there is not None and there.version == operation.number


def content(key: str, version: int, size: int) -> bytes:
    """Text of `size` bytes, another one for each key and version; it compresses a little."""
    return hashlib.shake_128(f"{key}@{version}".encode()).hexdigest(size // 2 + 1)[:size].encode()
