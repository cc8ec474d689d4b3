"""What a status says, and when it says something new."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_operator.api import Json
from pannier_operator.conditions import (
    REASONS,
    Finding,
    Reason,
    Type,
    changed,
    conditions,
    same,
    shortened,
    summed_up,
    timestamp,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
GOOD = (
    Finding(Type.ACCEPTED, True, Reason.VALID, "sound"),
    Finding(Type.RESOLVED_REFS, True, Reason.RESOLVED, "there"),
    Finding(Type.PROGRAMMED, True, Reason.PROGRAMMED, "told"),
)
ALL_IS_WELL = {
    Reason.VALID,
    Reason.RESOLVED,
    Reason.PROGRAMMED,
    Reason.READY,
    Reason.USED,
    Reason.UNUSED,
    Reason.ON_CLAIM,
}
DOCS = Path(__file__).parents[2] / "docs" / "conditions.md"


def test_all_that_holds_is_ready() -> None:
    assert summed_up(GOOD)[:3] == (Type.READY, True, Reason.READY)


def test_the_first_that_fails_is_why_it_is_not_ready() -> None:
    lost = Finding(Type.RESOLVED_REFS, False, Reason.BUCKET_NOT_FOUND, "no bucket")
    pending = Finding(Type.PROGRAMMED, False, Reason.PENDING, "later")

    assert summed_up((pending, lost, GOOD[0])) == (
        Type.READY,
        False,
        Reason.BUCKET_NOT_FOUND,
        "no bucket",
    )


def test_what_is_suspended_is_not_ready_though_it_is_accepted() -> None:
    suspended = Finding(Type.ACCEPTED, True, Reason.SUSPENDED, "writes are refused")

    assert summed_up((suspended, *GOOD[1:]))[1:3] == (False, Reason.SUSPENDED)


def test_what_is_worth_a_look_shows_though_it_is_ready() -> None:
    fleeting = Finding(Type.DURABLE, False, Reason.NO_CLAIM, "dies with the pod")

    assert summed_up((*GOOD, fleeting))[1:3] == (True, Reason.NO_CLAIM)


def test_a_condition_keeps_the_time_at_which_its_status_began() -> None:
    before = {"conditions": conditions(GOOD, {}, 1, NOW)}
    failing = GOOD[0]._replace(status=False, reason=Reason.INVALID_SPEC)
    renamed = GOOD[1]._replace(reason=Reason.SECRET_UNKNOWN)

    after = conditions((failing, renamed), before, 2, LATER)

    assert [each["lastTransitionTime"] for each in after] == [timestamp(LATER), timestamp(NOW)]
    assert [each["observedGeneration"] for each in after] == [2, 2]


def test_a_status_that_says_it_already_is_not_written() -> None:
    wanted: Json = {"observedGeneration": 1, "conditions": conditions(GOOD, {}, 1, NOW)}
    theirs = {"type": "Theirs", "status": "True", "reason": "Own"}
    found = wanted | {"conditions": [theirs, *wanted["conditions"]], "rollout": {"observed": 3}}

    assert same(found, wanted)


@pytest.mark.parametrize(
    "other",
    [
        {"observedGeneration": 2},
        {"configHash": "left over"},
        {"conditions": []},
    ],
)
def test_a_status_that_says_something_else_is_written(other: dict[str, object]) -> None:
    wanted: Json = {"observedGeneration": 1, "conditions": conditions(GOOD, {}, 1, NOW)}

    assert not same(wanted | other, wanted)


def test_a_new_message_is_no_news() -> None:
    before = {"conditions": conditions(GOOD, {}, 1, NOW)}
    reworded = [each._replace(message="otherwise") for each in GOOD]
    failing = GOOD[2]._replace(status=False, reason=Reason.PENDING)

    assert changed(before, {"conditions": conditions(reworded, before, 2, LATER)}) == []
    (news,) = changed(before, {"conditions": conditions([failing], before, 2, LATER)})
    assert news["reason"] == "Pending"


def test_times_are_written_in_utc() -> None:
    assert timestamp(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-01-01T12:00:00Z"


@given(st.text(max_size=40) | st.text("aé…𝄞", max_size=2000))
def test_a_message_fits_wherever_it_goes(text: str) -> None:
    cut = shortened(text)

    assert cut == text or 1018 < len(cut.encode()) <= 1024
    assert text.startswith(cut.removesuffix("…"))


def test_every_reason_belongs_to_a_condition_besides_ready() -> None:
    own = frozenset().union(*(reasons for kind, reasons in REASONS.items() if kind != Type.READY))

    assert own | {Reason.READY} == frozenset(Reason)


def test_every_condition_and_reason_is_documented_and_no_other() -> None:
    headings = [line[4:] for line in DOCS.read_text().splitlines() if line.startswith("### ")]
    conditions_told = [line[3:] for line in DOCS.read_text().splitlines() if line.startswith("## ")]

    assert sorted(headings) == sorted(Reason)
    assert sorted(conditions_told) == sorted(Type)


def test_every_reason_that_somebody_should_act_on_says_what_to_do() -> None:
    sections = re.findall(
        r"^### (\w+)\n(.*?)(?=^##|\Z)", DOCS.read_text(), re.MULTILINE | re.DOTALL
    )

    without = {
        Reason(name) for name, text in sections if not re.search(r"\*\*To\s+do:\*\*\s+\w", text)
    }

    assert without == ALL_IS_WELL
