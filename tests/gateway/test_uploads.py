"""What becomes of an upload where memory for bodies is short."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from pannier.protocol.metadata import Metadata
from pannier_gateway.codec import MemoryBudget
from pannier_gateway.codec import budget as budgeting
from pannier_gateway.codec.budget import PASSING, Lease
from pannier_gateway.codec.workers import Workers
from pannier_gateway.errors import MemoryFull
from pannier_gateway.uploads import CODING, Upload, UploadRules, receive
from support.zstd_bodies import chunks, gathered, noise, text

MIB = 1 << 20
RULES = UploadRules("u", most_bytes=None, compress=True, level=3, least_bytes=1024)
TEXT = text(MIB)


class Sent:
    """A body of 1 MiB that a client sends, and whether anybody has taken any of it."""

    def __init__(self, content: bytes) -> None:
        self.length: int | None = len(content)
        self.taken = False
        self._content = content

    def take_at_hand(self, most: int) -> bytes | None:
        return None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        self.taken = True
        for piece in chunks(self._content, 50_000):
            yield piece


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setattr(budgeting, "WAIT_SECONDS", 0.01)  # nobody waits seconds for a test
    with ThreadPoolExecutor(1) as threads:
        yield Workers(threads, MemoryBudget(16 * MIB))


@pytest.fixture
def room(workers: Workers) -> Iterator[Lease]:
    with workers.budget.lease() as room:
        yield room


@pytest.fixture
def others(workers: Workers) -> Iterator[ExitStack]:
    """Hold all that who asks for more than PASSING can have."""
    with ExitStack() as held:
        for _ in range(14):
            assert held.enter_context(workers.budget.lease()).try_hold(MIB)
        yield held


async def received(body: Sent, workers: Workers, room: Lease) -> Upload:
    return await receive(body, Metadata(), RULES, workers, room)


async def test_what_is_compressed_takes_room_for_it(workers: Workers, room: Lease) -> None:
    upload = await received(Sent(TEXT), workers, room)

    assert (upload.encoding, room.held) == ("zstd", CODING)


async def test_what_does_not_compress_gives_back_the_room_for_that(
    workers: Workers, room: Lease
) -> None:
    upload = await received(Sent(noise(MIB)), workers, room)

    assert (upload.encoding, room.held) == (None, PASSING)


@pytest.mark.usefixtures("others")
async def test_what_finds_no_room_to_be_compressed_is_stored_as_it_is(
    workers: Workers, room: Lease
) -> None:
    upload = await received(Sent(TEXT), workers, room)

    assert (upload.encoding, room.held) == (None, PASSING)
    assert await gathered(aiter(upload)) == TEXT


async def test_what_finds_no_room_at_all_is_refused_before_any_of_it_is_taken(
    workers: Workers, room: Lease, others: ExitStack
) -> None:
    for _ in range(4):
        assert others.enter_context(workers.budget.lease()).try_hold(PASSING)
    body = Sent(TEXT)

    with pytest.raises(MemoryFull):
        await received(body, workers, room)

    assert (body.taken, room.held) == (False, 0)


async def test_what_is_small_needs_no_room(
    workers: Workers, room: Lease, others: ExitStack
) -> None:
    for _ in range(4):
        assert others.enter_context(workers.budget.lease()).try_hold(PASSING)

    upload = await received(Sent(TEXT[:50_000]), workers, room)

    assert (upload.encoding, room.held) == ("zstd", 0)
