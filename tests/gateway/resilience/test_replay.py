"""Uploads that are sent again."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import BadRequest, PreconditionFailed, StoreTimedOut, StoreUnavailable
from pannier_gateway.resilience.budget import RetryBudget
from pannier_gateway.resilience.replay import ReplayStore, Trying, made_of
from pannier_gateway.resilience.retry import Retrier, RetryPolicy, Timing
from pannier_gateway.resilience.spool import Spool, SpoolLimits
from pannier_gateway.stores.base import Attributes, Buffer, Draft, Record, Source, Store
from pannier_gateway.stores.memory import MemoryStore
from support.faulty import Fault, FaultyStore, VirtualTime, busy, silent, unreachable
from support.hostile import Pieces, Wrapped
from support.stores import NOON, Body, ManualClock, draft, put, read, streamed

BODY = bytes(range(251)) * 800
CREATE = Conditions(if_none_match=("*",))
LIMITS = SpoolLimits(memory_each=50_000, memory=60_000, disk_each=300_000, disk=400_000)


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class DroppingStore(Wrapped):
    """Breaks off uploads, each after as many bytes as the script says next."""

    def __init__(self, store: FaultyStore, drops: list[int]) -> None:
        super().__init__(store)
        self._drops = drops

    async def incoming(self, pieces: AsyncIterator[Buffer]) -> Pieces:
        left = self._drops.pop(0) if self._drops else None
        async for piece in pieces:
            if left is not None and len(piece) > left:
                raise unreachable()
            left = None if left is None else left - len(piece)
            yield piece


class Trial:
    """A store that drops uploads and loses answers, with uploads sent again in virtual time."""

    def __init__(
        self, folder: Path, executor: ThreadPoolExecutor, limits: SpoolLimits = LIMITS
    ) -> None:
        self.time = VirtualTime()
        self.retried: list[tuple[str, str, str]] = []
        self.sought: list[str] = []
        self.torn: list[str] = []
        self.drops: list[int] = []
        self.base = MemoryStore(ManualClock())
        self.faulty = FaultyStore(self.base)
        self.spool = Spool(folder, executor, limits)
        timing = Timing(self.time.now, self.time.sleep, lambda: 0.5)
        budget = RetryBudget(self.time.now)
        self.retrier = Retrier(
            RetryPolicy(attempts=4), budget, lambda *what: self.retried.append(what), timing
        )
        self.store = self.around(DroppingStore(self.faulty, self.drops))

    def around(self, store: Store) -> ReplayStore:
        trying = Trying(self.retrier, self.retrier)
        return ReplayStore(store, trying, self.spool, self.torn.append, self.sought.append)

    def lose(self, error: Callable[[], Exception] = silent, *, done: bool = True) -> None:
        """The next answer is lost on its way; not `done`: and nothing has come of the request."""
        self.faulty.faults.append(Fault(error(), done=done, read=not done))


@pytest.fixture
def trial(tmp_path: Path, executor: ThreadPoolExecutor) -> Trial:
    return Trial(tmp_path, executor)


@pytest.mark.parametrize("body", [b"small", BODY], ids=["at hand", "in pieces"])
async def test_an_upload_that_fails_is_sent_again(trial: Trial, body: bytes) -> None:
    trial.lose(unreachable, done=False)
    trial.lose(busy, done=False)

    await put(trial.store, "k", body if body == b"small" else streamed(body, 10_000))

    assert await read(trial.base, "k") == body
    assert trial.faulty.asked == ["put"] * 3
    assert [outcome for *_, outcome in trial.retried] == ["failed", "ok"]
    assert trial.sought == []  # nobody said that it might be there


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drops=st.lists(st.integers(0, len(BODY)), max_size=3),
    piece=st.integers(5000, 90_000),
)
async def test_an_upload_that_breaks_off_anywhere_arrives_whole(
    tmp_path: Path, executor: ThreadPoolExecutor, drops: list[int], piece: int
) -> None:
    trial = Trial(tmp_path, executor)
    trial.drops.extend(drops)

    await put(trial.store, "k", streamed(BODY, piece))

    assert await read(trial.base, "k") == BODY
    assert (trial.spool.memory, trial.spool.disk) == (0, 0)


@pytest.mark.parametrize("body", [b"small", BODY], ids=["at hand", "in pieces"])
async def test_an_upload_whose_answer_was_lost_is_found_and_not_sent_again(
    trial: Trial, body: bytes
) -> None:
    trial.lose()

    record = await put(trial.store, "k", body if body == b"small" else streamed(body, 10_000))

    assert record == await trial.base.head("k")
    assert trial.faulty.asked == ["put", "head", "open"]
    assert trial.sought == ["found"]


async def test_a_creation_whose_answer_was_lost_does_not_fail_for_being_there(trial: Trial) -> None:
    trial.lose()

    await put(trial.store, "k", b"mine", CREATE)

    assert await read(trial.base, "k") == b"mine"


async def test_an_object_of_somebody_else_is_not_taken_for_ours(trial: Trial) -> None:
    await put(trial.base, "k", b"them")
    trial.lose(done=False)

    with pytest.raises(PreconditionFailed):
        await trial.store.put("k", Body([b"mine"], b"mine"), draft(created=NOON + 1), CREATE)
    assert trial.sought == ["absent", "absent"]
    assert await read(trial.base, "k") == b"them"


async def test_other_bytes_of_the_same_moment_are_not_taken_for_ours(trial: Trial) -> None:
    await put(trial.base, "k", b"them")
    trial.lose(done=False)

    await put(trial.store, "k", b"mine")

    assert trial.sought == ["absent"]
    assert await read(trial.base, "k") == b"mine"


async def test_an_upload_that_arrives_late_does_not_refuse_itself(trial: Trial) -> None:
    class Late(FaultyStore):
        """The first upload arrives after everybody has stopped waiting for it."""

        async def head(self, path: str) -> Record:
            try:
                return await super().head(path)
            finally:
                if self.asked.count("head") == 1:
                    await put(trial.base, path, b"mine")

    late = Late(trial.base, [Fault(silent(), read=True)])
    store = trial.around(late)

    await put(store, "k", b"mine", CREATE)

    assert trial.sought == ["absent", "found"]


async def test_a_body_that_broke_off_before_its_end_can_not_have_been_stored(trial: Trial) -> None:
    class Breaking(Wrapped):
        async def incoming(self, pieces: AsyncIterator[Buffer]) -> Pieces:
            yield await anext(pieces)
            raise silent()

    store = trial.around(Breaking(trial.faulty))

    with pytest.raises(StoreTimedOut):
        await put(store, "k", streamed(BODY, 10_000))
    assert trial.sought == []
    assert trial.faulty.asked == ["put"] * 4


async def test_an_upload_too_large_to_keep_is_sent_once(trial: Trial) -> None:
    trial.lose(unreachable)

    with pytest.raises(StoreUnavailable):
        await put(trial.store, "k", streamed(BODY * 3, 10_000))
    assert trial.torn == ["too large"]
    assert trial.retried == [("put", "ConnectFailed", "not replayable")]


async def test_an_upload_too_large_to_keep_is_found_where_only_its_answer_was_lost(
    trial: Trial,
) -> None:
    trial.lose()

    record = await put(trial.store, "k", streamed(BODY * 3, 10_000))

    assert record == await trial.base.head("k")
    assert (trial.torn, trial.sought) == (["too large"], ["found"])


async def test_an_upload_too_large_to_keep_that_is_not_there_failed_as_it_did(
    trial: Trial,
) -> None:
    trial.lose(done=False)

    with pytest.raises(StoreTimedOut):
        await put(trial.store, "k", streamed(BODY * 3, 10_000))
    assert trial.faulty.asked == ["put", "head", "head", "head"]  # it may still arrive


async def test_what_the_client_does_wrong_is_not_tried_again(trial: Trial) -> None:
    with pytest.raises(BadRequest):
        await put(trial.store, "k", Body([b"a", BadRequest("cut off")]))
    assert trial.faulty.asked == ["put"]
    assert trial.spool.memory == 0


async def test_every_attempt_stores_the_same_moment(trial: Trial) -> None:
    moments = iter(range(10))
    trial.lose(busy, done=False)

    def drafted() -> Draft:
        return draft(created=NOON + next(moments))()

    record = await trial.store.put("k", Body([b"x"], b"x"), drafted)

    assert record.created == NOON


async def test_a_store_that_asks_early_hears_later_what_the_body_has_told_by_then(
    trial: Trial,
) -> None:
    class Early(Wrapped):
        async def put(
            self,
            path: str,
            source: Source,
            draft: Callable[[], Draft],
            conditions: Conditions = UNCONDITIONAL,
        ) -> Record:
            draft()
            return await super().put(path, source, draft, conditions)

    told = iter([None, 5])

    def drafted() -> Draft:
        return draft(attributes=Attributes(encoding="zstd", original_size=next(told)))()

    record = await trial.around(Early(trial.base)).put("k", streamed(b"body"), drafted)

    assert record.attributes.original_size == 5


async def test_an_early_question_does_not_make_half_a_body_look_stored(trial: Trial) -> None:
    class EarlyAndBroken(Wrapped):
        async def put(
            self,
            path: str,
            source: Source,
            draft: Callable[[], Draft],
            conditions: Conditions = UNCONDITIONAL,
        ) -> Record:
            draft()
            await anext(aiter(source))
            raise silent()

    with pytest.raises(StoreTimedOut):
        await put(trial.around(EarlyAndBroken(trial.base)), "k", streamed(BODY, 10_000))
    assert trial.sought == []


def test_an_object_without_its_size_before_encoding_is_still_ours() -> None:
    attributes = Attributes(encoding="zstd", original_size=5)
    early = Attributes(encoding="zstd")
    other = Attributes(encoding="zstd", original_size=6)
    drafted = draft(attributes=attributes)()

    def record(kept: Attributes) -> Record:
        return Record("k", 3, "tag", NOON, None, kept)

    assert [made_of(record(each), drafted, 3) for each in (attributes, early, other)] == [
        True,
        True,
        False,
    ]
    assert not made_of(record(attributes), drafted, 4)
