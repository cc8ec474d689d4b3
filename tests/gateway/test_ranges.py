import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import BadRequest, RangeNotSatisfiable
from pannier_gateway.ranges import RangeSpec, content_range, parse_range
from pannier_gateway.span import Span

SIZES = st.integers(0, 50)
NUMBERS = st.integers(1, 60) | st.integers(2**63 - 2, 10**99)
SPECS = st.builds(RangeSpec, st.integers(0, 60), st.none()) | st.builds(
    RangeSpec, st.none(), NUMBERS
)
SPECS |= st.builds(lambda a, b: RangeSpec(min(a, b), max(a, b)), NUMBERS, NUMBERS)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=3-9", Span(3, 10)),
        ("bytes=3-", Span(3, 22)),
        ("bytes=-5", Span(17, 22)),
        ("bytes=-99", Span(0, 22)),
        ("bytes=21-400", Span(21, 22)),
        ("BYTES=007-008", Span(7, 9)),
        ("bytes=0-" + "9" * 100, Span(0, 22)),
    ],
)
def test_a_range_of_a_22_byte_object(header: str, expected: Span) -> None:
    asked = parse_range(header)

    assert asked is not None
    assert asked.resolve(22) == expected


@given(SPECS, SIZES)
def test_a_range_asked_for_again_is_the_same(spec: RangeSpec, size: int) -> None:
    again = parse_range(spec.header)

    assert again is not None
    assert max(filter(None, again), default=0) < 2**63
    assert resolved(again, size) == resolved(spec, size)


def resolved(spec: RangeSpec, size: int) -> Span | None:
    try:
        return spec.resolve(size)
    except RangeNotSatisfiable:
        return None


@pytest.mark.parametrize("header", [None, "bytes=0-1,4-5", "bytes=0-1,", ",", "items=1,2"])
def test_no_range_and_a_list_of_ranges_ask_for_everything(header: str | None) -> None:
    assert parse_range(header) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=-0",
        "bytes=-00",
        "bytes=5-3",
        "bytes= 1-2",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes =1-2",
        "bytes=1-2 ",
        "bytes=+1-2",
        "bytes=1--2",
        "bytes=0x1-2",
        "bytes=1_0-20",
        "bytes=\u0661-\u0662",
        "byte\u017f=1-2",
        "items=1-2",
        "bytes=1-2\n",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_what_is_no_range_of_bytes_is_refused(header: str) -> None:
    with pytest.raises(BadRequest, match="bytes=a-b") as refusal:
        parse_range(header)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=22-", 22), ("bytes=22-30", 22), ("bytes=0-", 0), ("bytes=-1", 0)]
)
def test_a_range_without_a_byte_in_the_object_names_its_size(header: str, size: int) -> None:
    asked = parse_range(header)
    assert asked is not None

    with pytest.raises(RangeNotSatisfiable) as refusal:
        asked.resolve(size)

    assert content_range(None, refusal.value.size) == f"bytes */{size}"


def test_a_part_says_where_it_lies() -> None:
    assert content_range(Span(0, 10), 22) == "bytes 0-9/22"


@given(st.integers(0, 60), st.integers(0, 60), SIZES)
def test_a_range_is_a_slice(first: int, more: int, size: int) -> None:
    body = bytes(range(size))
    asked = RangeSpec(first, first + more)

    if first >= size:
        with pytest.raises(RangeNotSatisfiable):
            asked.resolve(size)
    else:
        assert body[slice(*asked.resolve(size))] == body[first : first + more + 1]


@given(st.integers(1, 60), st.integers(1, 50))
def test_a_suffix_is_a_slice(length: int, size: int) -> None:
    body = bytes(range(size))

    assert body[slice(*RangeSpec(None, length).resolve(size))] == body[-length:]


@given(st.text(max_size=30) | st.from_regex(r"bytes=[\d\s,-]*", fullmatch=True))
def test_any_text_is_a_range_or_refused(header: str) -> None:
    try:
        asked = parse_range(header)
    except BadRequest:
        return
    assert asked is None or asked.first is not None or asked.last
