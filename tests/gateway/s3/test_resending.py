"""Uploads in parts, of which some fail or lose their answers: only those are sent again."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import PreconditionFailed, StoreRefused, StoreUnavailable
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.hedging import HedgePolicy
from pannier_gateway.resilience.retry import Timing
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.stores.base import Attributes, Buffer, Draft, Store
from pannier_gateway.stores.s3.bucket import S3Bucket
from support.engines import VERSITYGW, Engine, store_of, unfinished_uploads
from support.faulty import VirtualTime, dead, silent, unreachable
from support.stores import NOON, Body, Held, draft, put, read, streamed, whole

pytestmark = pytest.mark.engines

P = ParamSpec("P")
T = TypeVar("T")

LONG = bytes(range(256)) * 70_000  # three parts
SHORT = LONG[:300_000]
CREATE = Conditions(if_none_match=("*",))
EVERY = ["begin_upload", "upload_part", "end_upload"]


def around(bucket: S3Bucket, hedging: HedgePolicy | None = None) -> Store:
    """All of the resilience, for which no time passes."""
    time = VirtualTime()
    shared = Shared(
        ResilienceMetrics(CollectorRegistry()),
        lambda: 0.0,
        ThreadPoolExecutor(1),
        timing=Timing(time.now, time.sleep),
    )
    resilience = Resilience("b", shared)
    resilience.hedging.policy = hedging or resilience.hedging.policy
    store = store_of(bucket, VERSITYGW, given=resilience)
    return resilience.around(store, sends_parts_again=True)


class Troubled:
    """Has the calls to methods of a bucket fail, each once, before or after they are done."""

    def __init__(self, bucket: S3Bucket, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self._bucket = bucket
        self._patch = patch

    def fail(self, name: str, error: Exception, *, done: bool, times: int = 1) -> None:
        method = getattr(self._bucket, name)
        self._patch.setattr(self._bucket, name, self._failing(method, [error] * times, done))

    def _failing(
        self, method: Callable[P, Awaitable[T]], errors: list[Exception], done: bool
    ) -> Callable[P, Awaitable[T]]:
        left = deque(errors)

        async def call(*args: P.args, **named: P.kwargs) -> T:
            self.calls.append(method.__name__)
            if left and not done:
                raise left.popleft()
            result = await method(*args, **named)
            if left:
                raise left.popleft()
            return result

        return call


@pytest.fixture
def troubled(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> Troubled:
    return Troubled(bucket, monkeypatch)


@pytest.mark.parametrize("conditions", [UNCONDITIONAL, CREATE])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("name", EVERY)
async def test_what_fails_is_sent_again_and_the_object_is_whole(
    bucket: S3Bucket, troubled: Troubled, name: str, done: bool, conditions: Conditions
) -> None:
    troubled.fail(name, silent(), done=done)
    store = around(bucket)

    record = await put(store, "k", streamed(LONG, 1 << 20), conditions)

    assert await store.head("k") == record
    assert await read(store, "k") == LONG


@pytest.mark.parametrize("name", ["upload_part", "end_upload"])
async def test_nothing_is_left_behind(
    bucket: S3Bucket, troubled: Troubled, strict: Engine, name: str
) -> None:
    troubled.fail(name, silent(), done=True)

    await put(around(bucket), "k", streamed(LONG, 1 << 20))

    assert unfinished_uploads(strict, bucket.name) == set()


async def test_the_end_of_an_upload_is_asked_for_once_however_late(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once make some engines forget for a moment what the first has made."""
    impatient = HedgePolicy(floor=0.001, unknown=0.001, unknown_large=0.001, uploads=True)
    ends, end_upload = 0, bucket.end_upload

    async def late(*given: Any) -> None:
        nonlocal ends
        ends += 1
        await asyncio.sleep(0.05)
        await end_upload(*given)

    monkeypatch.setattr(bucket, "end_upload", late)
    store = around(bucket, impatient)

    await put(store, "k", streamed(LONG, 1 << 20))

    assert ends == 1
    assert await read(store, "k") == LONG


@pytest.mark.parametrize("conditions", [UNCONDITIONAL, CREATE])
async def test_an_upload_is_done_when_it_is_seen_and_not_when_its_store_says_so_once_more(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch, conditions: Conditions
) -> None:
    """As versitygw does while it is still at it for the one who asked first."""
    end_upload, asked = bucket.end_upload, 0

    async def at_it(*given: Any) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise silent()
        if asked > 3:
            await end_upload(*given)

    monkeypatch.setattr(bucket, "end_upload", at_it)
    store = around(bucket)

    await put(store, "k", streamed(LONG, 1 << 20), conditions)

    assert await read(store, "k") == LONG


async def test_what_others_write_behind_an_upload_that_was_ended_twice_stays(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_upload, asked = bucket.end_upload, 0

    async def overtaken(*given: Any) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise silent()
        await end_upload(*given)
        await put(store_of(bucket, VERSITYGW), "k", b"later")

    monkeypatch.setattr(bucket, "end_upload", overtaken)
    store = around(bucket)

    await put(store, "k", streamed(LONG, 1 << 20))

    assert asked == 2
    assert await read(store, "k") == b"later"


async def test_parts_that_arrived_are_not_sent_again(bucket: S3Bucket, troubled: Troubled) -> None:
    troubled.fail("upload_part", unreachable(), done=False, times=3)

    await put(around(bucket), "k", streamed(LONG, 1 << 20))

    assert troubled.calls == ["upload_part"] * (3 + 3)


@pytest.mark.parametrize("conditions", [UNCONDITIONAL, CREATE])
@pytest.mark.parametrize("done", [False, True])
async def test_a_short_stream_is_sent_again_too(
    bucket: S3Bucket, troubled: Troubled, done: bool, conditions: Conditions
) -> None:
    troubled.fail("put", silent(), done=done)
    store = around(bucket)

    record = await put(store, "k", streamed(SHORT), conditions)

    assert await store.head("k") == record
    assert await read(store, "k") == SHORT


async def test_an_upload_that_is_sent_twice_is_one_version(bucket: S3Bucket) -> None:
    driver, same, later = store_of(bucket, VERSITYGW), draft(), draft(created=NOON + 1)

    first = await driver.put("k", whole(b"x"), same)

    assert (await driver.put("k", whole(b"x"), same)).etag == first.etag
    assert (await driver.put("k", whole(b"y"), same)).etag != first.etag
    assert (await driver.put("k", whole(b"x"), later)).etag != first.etag


async def test_who_comes_second_is_told_so_although_the_first_answer_was_lost(
    bucket: S3Bucket, troubled: Troubled
) -> None:
    store = around(bucket)
    await put(store, "k", b"first")
    troubled.fail("put", silent(), done=False)

    with pytest.raises(PreconditionFailed):
        await put(store, "k", streamed(SHORT), CREATE)

    assert await read(store, "k") == b"first"


async def test_the_size_before_compression_is_written_though_the_answer_was_lost(
    bucket: S3Bucket, troubled: Troubled
) -> None:
    troubled.fail("head", silent(), done=True)  # which looks for what is to be described anew
    store = around(bucket)
    ended = False

    class Squeezed(Body):
        async def __aiter__(self) -> AsyncIterator[Buffer]:
            nonlocal ended
            async for piece in super().__aiter__():
                yield piece
            ended = True

    def drafted() -> Draft:
        size = 12345 if ended else None
        return draft(attributes=Attributes(encoding="zstd", original_size=size))()

    await store.put("k", Squeezed([LONG]), drafted)

    assert (await store.head("k")).attributes.original_size == 12345


@pytest.mark.parametrize("error", [StoreRefused("no"), StoreUnavailable("never")])
async def test_an_upload_that_comes_to_nothing_leaves_nothing(
    bucket: S3Bucket, troubled: Troubled, strict: Engine, error: Exception
) -> None:
    troubled.fail("upload_part", error, done=False, times=100)
    troubled.fail("abort_upload", dead(), done=False, times=2)

    with pytest.raises(type(error)):
        await put(around(bucket), "k", streamed(LONG, 1 << 20))

    assert unfinished_uploads(strict, bucket.name) == set()
    assert troubled.calls.count("upload_part") == (1 if isinstance(error, StoreRefused) else 8)


async def test_a_body_that_is_taken_no_further_is_closed_by_then(
    bucket: S3Bucket, troubled: Troubled
) -> None:
    troubled.fail("upload_part", StoreRefused("no"), done=False)
    source = Held([LONG, LONG])

    with pytest.raises(StoreRefused):
        await put(store_of(bucket, VERSITYGW), "k", source)

    assert source.closed
