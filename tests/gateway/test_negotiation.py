import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import NotAcceptable
from pannier_gateway.negotiation import Accepted, accepts, choose

CODINGS = st.sampled_from(["zstd", "ZSTD", "identity", "*", "gzip", "x-gzip", "br"])
QVALUES = st.sampled_from(["", ";q=0", ";q=0.000", "; Q=1", ";q=1.0", ";q=0.001", " ; q=0.5"])
HEADERS = st.lists(st.builds(str.__add__, CODINGS, QVALUES), max_size=5).map(" , ".join)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "identity"),
        ("", "identity"),
        (" ", "identity"),
        ("zstd", "zstd"),
        ("ZSTD", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, x-gzip, x-zstd", "identity"),
        ("*", "zstd"),
        ("zstd, identity", "zstd"),
        ("zstd;q=0.5, identity;q=0.5", "zstd"),
        ("zstd;q=0.5, identity", "identity"),
        ("zstd;q=0.001", "zstd"),
        ("zstd;q=0", "identity"),
        ("zstd;q=0.000, *", "identity"),
        ("*;q=0.4, identity;q=0.3", "zstd"),
        ("*;q=0.4, identity;q=0.5", "identity"),
        ("identity;q=0, zstd", "zstd"),
        ("*;q=0, zstd", "zstd"),
        ("*;q=0, identity", "identity"),
        ("zstd \t;\tq=1.000", "zstd"),
    ],
)
def test_a_zstd_object_goes_out_as_its_reader_prefers(header: str | None, expected: str) -> None:
    assert choose(header, "zstd") == expected


@pytest.mark.parametrize(
    "header", ["identity;q=0", "*;q=0", "zstd;q=0, identity;q=0", "gzip, *;q=0", "*;q=0.0,gzip"]
)
def test_a_reader_who_refuses_both_is_told_so(header: str) -> None:
    with pytest.raises(NotAcceptable, match="identity or zstd"):
        choose(header, "zstd")


@pytest.mark.parametrize("header", [None, "", "zstd", "gzip", "zstd;q=1, identity;q=0.1", "*"])
def test_a_plain_object_goes_out_plain(header: str | None) -> None:
    assert choose(header, None) == "identity"


@pytest.mark.parametrize("header", ["identity;q=0", "*;q=0", "zstd, *;q=0", "zstd, identity;q=0.0"])
def test_a_plain_object_is_not_sent_to_a_reader_who_refuses_plain_bytes(header: str) -> None:
    with pytest.raises(NotAcceptable):
        choose(header, None)


@pytest.mark.parametrize(
    "entry",
    [
        "zstd;q=",
        "zstd;q=2",
        "zstd;q=1.001",
        "zstd;q=0.5555",
        "zstd;q=-1",
        "zstd;q=.5",
        "zstd;q=\u0660",
        "zstd;level=3",
        "zstd q=1",
        "\u017ftd",
        "z std",
        "zstd;q=1;q=0",
        "\x00",
    ],
)
def test_an_entry_that_does_not_parse_counts_as_not_sent(entry: str) -> None:
    assert accepts(entry) == accepts("")
    assert accepts(f"{entry}, zstd;q=0.2") == accepts("zstd;q=0.2")


def test_of_two_entries_for_one_coding_the_last_counts() -> None:
    assert accepts("zstd;q=0, zstd;q=0.7") == Accepted(zstd=700, identity=1)


@given(HEADERS)
def test_a_choice_is_never_what_the_reader_refused(header: str) -> None:
    accepted = accepts(header)

    try:
        assert getattr(accepted, choose(header, "zstd")) == max(accepted) > 0
    except NotAcceptable:
        assert accepted == (0, 0)


@given(st.text(max_size=60))
def test_any_text_is_an_accept_encoding(header: str) -> None:
    assert all(0 <= weight <= 1000 for weight in accepts(header))


@pytest.mark.parametrize("header", ["zstd", "zstd;q=0.1, identity", "*", "identity;q=0, zstd"])
def test_what_is_not_decoded_goes_to_those_who_take_zstd(header: str) -> None:
    assert choose(header, "zstd", decodable=False) == "zstd"


@pytest.mark.parametrize("header", [None, "", "identity", "gzip, br", "zstd;q=0", "*;q=0"])
def test_others_are_told_what_to_do(header: str | None) -> None:
    with pytest.raises(NotAcceptable, match=r"8 MiB.*accept-encoding: zstd.*smaller window"):
        choose(header, "zstd", decodable=False)
