import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pannier_gateway.conditions import (
    UNCONDITIONAL,
    Conditions,
    Outcome,
    Validators,
    check_read,
    check_write,
    parse_conditions,
    range_applies,
)
from pannier_gateway.dates import parse_date
from pannier_gateway.errors import BadRequest

THEN = 784_111_777_000_000  # Sun, 06 Nov 1994 08:49:37 GMT
IMF = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
CURRENT = Validators(etags=("plain", "zipped"), modified=THEN + 999_999)
WORDS = ["*", ",", " ", '"', "W/", "plain", '"plain"', '"zipped"', '"old"']
LISTS = st.text(max_size=40) | st.lists(st.sampled_from(WORDS), max_size=5).map("".join)


def asked(**headers: str) -> Conditions:
    """The conditions in headers, named with underscores."""
    return lines(*((k.replace("_", "-"), v) for k, v in headers.items()))


def lines(*fields: tuple[str, str]) -> Conditions:
    return parse_conditions(CIMultiDict(fields))


def read(**headers: str) -> Outcome:
    return check_read(asked(**headers), CURRENT)


def test_a_request_without_conditions_costs_nothing() -> None:
    assert asked(range="bytes=0-1") is UNCONDITIONAL
    assert check_read(UNCONDITIONAL, CURRENT) is Outcome.PROCEED
    assert check_write(UNCONDITIONAL, None)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("*", Outcome.PROCEED),
        ('"plain"', Outcome.PROCEED),
        ('"zipped"', Outcome.PROCEED),
        ('"old" ,\t"plain",', Outcome.PROCEED),
        ('"with,comma", "plain"', Outcome.PROCEED),
        ('"old"', Outcome.FAILED),
        ('W/"plain"', Outcome.FAILED),
        ('"*"', Outcome.FAILED),
        ('""', Outcome.FAILED),
    ],
)
def test_if_match_lets_through_who_knows_the_object(header: str, expected: Outcome) -> None:
    assert read(if_match=header) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("*", Outcome.NOT_MODIFIED),
        ('"plain"', Outcome.NOT_MODIFIED),
        ('W/"plain"', Outcome.NOT_MODIFIED),
        ('"old", W/"zipped"', Outcome.NOT_MODIFIED),
        ('"old"', Outcome.PROCEED),
        ('"*"', Outcome.PROCEED),
    ],
)
def test_if_none_match_spares_the_body(header: str, expected: Outcome) -> None:
    assert read(if_none_match=header) is expected


@pytest.mark.parametrize(
    "header",
    ["", ",", "a", '"a', 'a"', '"a" "b"', '"a", *', "**", '"a b"', '"a"\n', 'w/"a"', 'W/ "a"'],
)
@pytest.mark.parametrize("name", ["if_match", "if_none_match"])
def test_a_list_of_etags_that_does_not_parse_is_refused(name: str, header: str) -> None:
    with pytest.raises(BadRequest, match=name.replace("_", "-")):
        asked(**{name: header})


@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
def test_a_list_over_several_lines_is_one(name: str) -> None:
    apart = lines((name, '"old", W/"weak"'), (name, '"plain"'))

    assert apart == lines((name, '"old", W/"weak", "plain"'))
    assert apart != lines((name, '"plain"'))


def test_anything_is_not_one_of_several() -> None:
    with pytest.raises(BadRequest, match="if-match"):
        lines(("if-match", "*"), ("if-match", '"plain"'))


def test_dates_are_compared_in_whole_seconds() -> None:
    assert read(if_modified_since=IMF) is Outcome.NOT_MODIFIED
    assert read(if_modified_since=LATER) is Outcome.NOT_MODIFIED
    assert read(if_modified_since=EARLIER) is Outcome.PROCEED
    assert read(if_unmodified_since=IMF) is Outcome.PROCEED
    assert read(if_unmodified_since=LATER) is Outcome.PROCEED
    assert read(if_unmodified_since=EARLIER) is Outcome.FAILED


def test_etags_overrule_dates() -> None:
    assert read(if_match='"plain"', if_unmodified_since=EARLIER) is Outcome.PROCEED
    assert read(if_none_match='"old"', if_modified_since=LATER) is Outcome.PROCEED


def test_a_failed_precondition_overrules_not_modified() -> None:
    assert read(if_match='"old"', if_none_match='"plain"') is Outcome.FAILED
    assert read(if_unmodified_since=EARLIER, if_none_match='"plain"') is Outcome.FAILED


def test_a_date_that_is_none_is_no_condition() -> None:
    assert read(if_modified_since="yesterday", if_unmodified_since="0") is Outcome.PROCEED


def test_if_none_match_any_only_creates() -> None:
    assert check_write(asked(if_none_match="*"), None)
    assert not check_write(asked(if_none_match="*"), CURRENT)


def test_if_match_only_replaces() -> None:
    assert not check_write(asked(if_match="*"), None)
    assert not check_write(asked(if_match='"plain"'), None)
    assert not check_write(asked(if_match='"old"'), CURRENT)
    assert check_write(asked(if_match='"plain"'), CURRENT)


def test_a_write_heeds_dates_and_lists() -> None:
    assert not check_write(asked(if_unmodified_since=EARLIER), CURRENT)
    assert check_write(asked(if_unmodified_since=IMF), CURRENT)
    assert check_write(asked(if_unmodified_since=EARLIER), None)
    assert not check_write(asked(if_none_match='"old", W/"plain"'), CURRENT)
    assert check_write(asked(if_none_match='"old"'), CURRENT)
    assert check_write(asked(if_modified_since=LATER), CURRENT)


@given(st.text(max_size=40), st.text(max_size=40) | st.sampled_from([IMF, '"plain"']))
def test_unreadable_dates_and_what_only_reads_obey_guard_no_write(date: str, other: str) -> None:
    assume(parse_date(date) is None)
    conditions = asked(if_unmodified_since=date, if_modified_since=other, if_range=other)

    assert not conditions.guards_writes
    assert check_write(conditions, CURRENT)
    assert check_write(conditions, None)


@pytest.mark.parametrize(
    "header", [{"if_match": '"a"'}, {"if_none_match": "*"}, {"if_unmodified_since": IMF}]
)
def test_what_depends_on_the_object_guards_a_write(header: dict[str, str]) -> None:
    assert asked(**header).guards_writes


@pytest.mark.parametrize(
    ("header", "applies"),
    [
        ('"plain"', True),
        ('"zipped"', False),
        ('W/"plain"', False),
        (IMF, False),
        (LATER, False),
        (EARLIER, False),
        ("nonsense", False),
        ('"plain",', False),
        ('""', False),
        ("", False),
    ],
)
def test_a_range_counts_only_for_the_state_it_was_meant_for(header: str, applies: bool) -> None:
    assert range_applies(asked(if_range=header), "plain") is applies


def test_a_range_without_if_range_counts() -> None:
    assert range_applies(UNCONDITIONAL, "plain")
    assert range_applies(asked(if_match="*"), "plain")


@given(st.lists(st.from_regex(r"[!#-)+-~]*", fullmatch=True), min_size=1, max_size=5), st.data())
def test_a_tag_is_found_anywhere_in_a_list(tags: list[str], data: st.DataObject) -> None:
    current = Validators((data.draw(st.sampled_from(tags)),), 0)
    listed = ", ".join(f'{data.draw(st.sampled_from(["", "W/"]))}"{tag}"' for tag in tags)

    assert check_read(asked(if_none_match=listed), current) is Outcome.NOT_MODIFIED


def may_name(text: str) -> bool:
    """Whether `text`, whatever else it is, could be a list that CURRENT is in."""
    return text.strip(" \t") == "*" or any(f'"{tag}"' in text for tag in CURRENT.etags)


@given(LISTS, LISTS)
def test_any_text_is_refused_or_a_condition_on_the_tags_it_names(tags: str, other: str) -> None:
    try:
        conditions = asked(
            if_match=tags, if_none_match=other, if_modified_since=tags, if_range=other
        )
    except BadRequest:
        return
    outcome = check_read(conditions, CURRENT)

    assert may_name(tags) or outcome is Outcome.FAILED
    assert may_name(other) or outcome is not Outcome.NOT_MODIFIED


def test_a_list_of_tags_full_of_blanks_is_refused_in_no_time() -> None:
    with pytest.raises(BadRequest, match="if-match"):
        asked(if_match='"a",' + " " * 100_000 + "x")
