"""Lifecycle rules are put in force or taken back, whatever a store makes of them."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from pannier_gateway.errors import PannierError, StoreMisanswered, StoreRefused, StoreUnavailable
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.s3.enactment import Enactment
from pannier_gateway.stores.s3.lifecycle import (
    NO_RULES,
    Plan,
    Rule,
    Rules,
    expiring_after,
    plan,
    same,
    unfinished,
)
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.engines import bucket_at
from support.faulty import VirtualTime
from support.pools import in_use
from support.rulebook import Rulebook, kept, rule

PREFIX = "team/a/"
THEIRS = rule("theirs", "<Status>Enabled</Status><Unknown><To>us</To></Unknown>")
TAG = re.compile(r"<Tag>.*</Tag>|</?And>")


def planned(current: Rules = (THEIRS,)) -> Plan:
    """Two rules that delete, and the one for uploads."""
    wanted = [expiring_after(PREFIX, 1), expiring_after(PREFIX, 7), unfinished(PREFIX)]
    empty = plan(current, PREFIX, [], tagged=False)
    (uploads,) = empty.differences
    return Plan(current, tuple(uploads._replace(ours=each) for each in wanted))


@asynccontextmanager
async def enactment(book: Rulebook) -> AsyncIterator[Enactment]:
    with book.open():
        async with in_use(Pool(Endpoint("127.0.0.1", book.port))) as pool:
            bucket = bucket_at(Entrance(f"127.0.0.1:{book.port}", pool))
            yield Enactment(bucket, VirtualTime().sleep)


async def failing(book: Rulebook, kind: type[PannierError], going: Plan | None = None) -> str:
    """What is said where rules can't be put in force."""
    async with enactment(book) as enacting:
        with pytest.raises(kind) as failed:
            await enacting.enact(going or planned())
    return " ".join([str(failed.value), *getattr(failed.value, "__notes__", [])])


def enabled(rules: Rules) -> set[str]:
    return {each.id for each in rules if each != THEIRS and "Enabled" in each.xml}


def changed(change: Callable[[str], str]) -> Callable[[Rules], Rules]:
    """What a store makes of rules that changes their text."""
    return lambda rules: tuple(Rule(each.id, change(each.xml)) for each in rules)


# Where all goes well


@pytest.mark.parametrize("current", [NO_RULES, (THEIRS,)])
async def test_rules_are_tried_out_and_then_written(current: Rules) -> None:
    book, going = Rulebook(current), planned(current)
    async with enactment(book) as enacting:
        assert await enacting.enact(going) == going

    assert same(book.rules, going.rules)
    rehearsed, _ = book.put
    assert enabled(rehearsed) == set()


async def test_what_s3_tells_beside_the_rules_is_given_back_with_them() -> None:
    book = Rulebook((THEIRS,))
    async with enactment(book) as enacting:
        await enacting.enact(planned())

    assert book.beside == ["varies_by_storage_class"] * 2


async def test_where_nothing_differs_nothing_is_written() -> None:
    book = Rulebook((THEIRS,))
    async with enactment(book) as enacting:
        await enacting.enact(Plan((THEIRS,), ()))

    assert book.put == []


@pytest.mark.parametrize("write", [1, 2])
async def test_a_store_that_tells_of_it_late_is_waited_for(write: int) -> None:
    def forgetful(book: Rulebook) -> None:
        if len(book.put) == write and not remembered:
            remembered.append(book)
            book.late = 4

    remembered: list[Rulebook] = []
    book = Rulebook((THEIRS,), meanwhile=forgetful)
    async with enactment(book) as enacting:
        await enacting.enact(planned())

    assert book.late == 0
    assert remembered
    assert same(book.rules, planned().rules)


async def test_a_store_may_write_rules_in_its_own_way() -> None:
    def own(rules: Rules) -> Rules:
        spaced = changed(lambda xml: xml.replace("><", ">\n  <"))(rules)
        return tuple(reversed(spaced))

    async with enactment(Rulebook((THEIRS,), keep=own)) as enacting:
        assert await enacting.enact(planned()) == planned()


# Where a store does not keep them


@pytest.mark.parametrize(
    "keep",
    [
        changed(lambda xml: TAG.sub("", xml)),
        changed(lambda xml: re.sub(r"<Prefix>.*</Prefix>", "", xml)),
        changed(lambda xml: re.sub(r"<Filter>.*</Filter>", "", xml)),
        changed(lambda xml: re.sub(r"<ID>pannier.*</ID>", "", xml)),
        changed(lambda xml: xml.replace("Disabled", "Enabled")),
        lambda rules: tuple(each for each in rules if each.id == "theirs"),
        lambda _: None,
    ],
)
@pytest.mark.parametrize("current", [NO_RULES, (THEIRS,)])
async def test_rules_that_are_not_kept_are_never_in_force_and_taken_back(
    keep: Callable[[Rules], Rules | None], current: Rules
) -> None:
    book = Rulebook(current, keep)
    await failing(book, StoreRefused, planned(current))

    assert same(book.rules, current)
    for rules in book.put:
        assert enabled(rules) == set()


async def test_it_is_told_which_rule_was_not_kept_and_what_is_left() -> None:
    book = Rulebook((THEIRS,), keep=changed(lambda xml: TAG.sub("", xml)))
    said = await failing(book, StoreRefused)

    assert "does not keep lifecycle rules as they are written" in said
    assert "pannier-1d/team/a" in said
    assert "as they were before" in said


async def test_a_store_that_loses_a_filter_only_in_the_end_has_it_taken_back_at_once() -> None:
    def keep(rules: Rules) -> Rules:
        return changed(lambda xml: TAG.sub("", xml))(rules) if enabled(rules) else rules

    book = Rulebook((THEIRS,), keep)
    await failing(book, StoreRefused, planned().necessary)

    assert same(book.rules, (THEIRS,))
    assert book.asked[-5:] == ["PUT", "GET", "GET", "PUT", "GET"]


async def test_what_can_not_be_taken_back_is_told() -> None:
    def keep(rules: Rules) -> Rules | None:
        return changed(lambda xml: TAG.sub("", xml))(rules) if len(rules) > 1 else None

    said = await failing(Rulebook((THEIRS,), keep), StoreUnavailable)

    assert "could not be taken back" in said


@pytest.mark.parametrize(
    "keep",
    [
        lambda rules: None if any("Abort" in each.xml for each in rules) else rules,
        lambda rules: tuple(each for each in rules if "Abort" not in each.xml),
        changed(lambda xml: re.sub("<Abort.*Upload>", "", xml)),
    ],
)
async def test_a_store_may_do_without_the_rule_for_uploads(
    keep: Callable[[Rules], Rules | None],
) -> None:
    book = Rulebook((THEIRS,), keep)
    async with enactment(book) as enacting:
        done = await enacting.enact(planned())

    assert done == planned().necessary
    assert same(book.rules, done.rules)


async def test_rules_that_can_not_be_read_are_not_written_over() -> None:
    book = Rulebook((Rule("x", "<Rule>"),))
    said = await failing(book, StoreMisanswered)

    assert "lifecycle rules" in said
    assert book.put == []


# Where others write too


def others_write(turn: int) -> Callable[[Rulebook], None]:
    """Somebody else adds a rule before that request."""
    turns = iter(range(100))

    def write(book: Rulebook) -> None:
        if next(turns) == turn:
            book.rules = (*book.rules, rule("late"))

    return write


@pytest.mark.parametrize("turn", [0, 2, 4])
async def test_what_others_write_meanwhile_stays_and_ours_is_taken_back(turn: int) -> None:
    """Before: the first look; the look at the rehearsal; the look at the rules."""
    book = Rulebook((THEIRS,), meanwhile=others_write(turn))
    said = await failing(book, StoreUnavailable)

    assert "run this again" in said
    assert same(book.rules, (THEIRS, rule("late")))


async def test_it_can_be_run_again_after_that() -> None:
    book = Rulebook((THEIRS,), meanwhile=others_write(2))
    await failing(book, StoreUnavailable)

    async with enactment(book) as enacting:
        await enacting.enact(planned(await enacting.current()))

    assert {each.id for each in book.rules} == {
        *("theirs", "late"),
        *(each.ours.id for each in planned().differences),
    }


async def test_what_an_interrupted_run_left_is_mended_by_the_next() -> None:
    left = Rulebook(planned().rehearsal)
    async with enactment(left) as enacting:
        again = plan(await enacting.current(), PREFIX, [], tagged=True)
        await enacting.enact(again)

    assert {each.kind for each in again.differences} == {"other"}
    assert same(left.rules, planned().rules)


async def test_a_store_without_rules_has_none() -> None:
    async with enactment(Rulebook(keep=kept)) as enacting:
        assert await enacting.current() == NO_RULES
