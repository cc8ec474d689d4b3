"""What is asked of a store at once, for a reader of whose object nothing is known yet."""

from array import array

import pytest

from pannier_gateway.ahead import END, Foresight, likely
from pannier_gateway.codec import SeekTable, SeekTables
from pannier_gateway.conditions import Conditions
from pannier_gateway.ranges import EVERYTHING, NOTHING, RangeSpec
from pannier_gateway.representation import Ask
from pannier_gateway.stores.base import Attributes, Record

PART = RangeSpec(150, 250)
KNOWN = Conditions(if_none_match=("e1",))
FRAMES = SeekTable(array("I", [7] * 10), 100, 950)


@pytest.mark.parametrize(
    ("ask", "compressed", "plain"),
    [
        (Ask(), EVERYTHING, EVERYTHING),
        (Ask(conditions=Conditions(if_match=("e1",))), EVERYTHING, EVERYTHING),
        (Ask(conditions=KNOWN), NOTHING, NOTHING),
        (Ask(range=PART, conditions=KNOWN), NOTHING, NOTHING),
        (Ask(conditions=Conditions(if_modified_since=0)), NOTHING, NOTHING),
        (Ask(range=PART), END, PART),
        (Ask(range=PART, conditions=Conditions(if_match=("e1",))), END, PART),
        (Ask(range=PART, accept_encoding="gzip"), END, PART),
        (Ask(range=PART, accept_encoding="zstd;q=0.5, identity"), END, PART),
        (Ask(range=PART, accept_encoding="zstd"), PART, PART),
        (Ask(range=PART, accept_encoding="zstd", as_sent=True), END, PART),
        (Ask(range=PART, accept_encoding="zstd;q=0, identity;q=0"), END, PART),
    ],
)
def test_what_a_reader_will_most_likely_get(
    ask: Ask, compressed: RangeSpec, plain: RangeSpec
) -> None:
    assert likely(ask, None, compressed=True) == compressed
    assert likely(ask, None, compressed=False) == plain


@pytest.mark.parametrize(
    ("wanted", "stored"),
    [
        (RangeSpec(150, 250), RangeSpec(7, 20)),
        (RangeSpec(None, 1), RangeSpec(63, 69)),
        (RangeSpec(900, None), RangeSpec(63, 69)),
        (RangeSpec(950, None), NOTHING),
    ],
)
def test_of_an_object_read_before_the_frames_are_known(
    wanted: RangeSpec, stored: RangeSpec
) -> None:
    assert likely(Ask(range=wanted), FRAMES, compressed=False) == stored
    assert likely(Ask(range=wanted, accept_encoding="zstd"), FRAMES, compressed=True) == wanted


def test_what_did_not_compress_is_known_until_it_does_or_others_are_read() -> None:
    foresight = Foresight(SeekTables(), compressed=True, most_known=2)
    ask, plain = Ask(range=PART), Record("k", 1000, "e", 0, None, Attributes())
    packed = Record("k", 1000, "e", 0, None, Attributes(encoding="zstd"))
    assert foresight.likely("a", ask) == END

    for path in "abca":
        foresight.seen(path, plain)
    assert [foresight.likely(path, ask) for path in "abc"] == [PART, END, PART]

    foresight.seen("a", packed)
    assert foresight.likely("a", ask) == END
