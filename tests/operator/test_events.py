"""Events: what people are told, and what they are spared."""

from datetime import UTC, datetime

import pytest

from pannier_operator.api import Json
from pannier_operator.events import event
from pannier_operator.world import Seen
from support.manifests import usecase
from support.views import view

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ready(status: str, reason: str, message: str = "why") -> Json:
    told = {"type": "Ready", "status": status, "reason": reason, "message": message}
    return {"conditions": [told | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}


def seen(status: Json) -> Seen:
    (found,) = view(usecase() | {"status": status}).usecases
    return found


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({}, ready("False", "BucketNotFound"), "Warning"),
        (ready("True", "Ready"), ready("False", "NameConflict"), "Warning"),
        (ready("False", "Pending"), ready("True", "Ready"), "Normal"),
        (ready("True", "Ready"), ready("False", "Suspended"), "Normal"),
        ({}, ready("True", "NoClaim"), "Warning"),
    ],
)
def test_a_change_is_told(before: Json, after: Json, kind: str) -> None:
    told = event(seen(before), after, "operator-1", NOW)

    assert told is not None
    assert (told["type"], told["reason"]) == (kind, after["conditions"][0]["reason"])
    assert told["regarding"]["uid"] == "uid-0"
    assert told["eventTime"] == "2026-01-01T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, ready("True", "Ready")),
        (ready("False", "Pending"), ready("False", "Pending", "in other words")),
    ],
)
def test_what_is_as_expected_is_not_told(before: Json, after: Json) -> None:
    assert event(seen(before), after, "operator-1", NOW) is None


def test_a_long_message_is_cut_to_what_an_event_holds() -> None:
    told = event(seen({}), ready("False", "InvalidSpec", "x" * 5000), "i" * 300, NOW)

    assert told is not None
    assert len(told["note"].encode()) == 1024
    assert len(told["reportingInstance"]) == 128
