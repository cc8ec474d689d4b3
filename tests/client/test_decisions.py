"""Addresses, patience and plans: the decisions that need no socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier import ByteRange, Client, ProtocolError, Retry, Timeout
from pannier.address import DEFAULT_URL, ENVIRONMENT_VARIABLE, Address
from pannier.plan import Conditions, Place, ResponseHead, plan_get, plan_page, read_range
from pannier.protocol.names import Scopes
from pannier.protocol.target import parse_target

PLACE = Place("abc", Scopes.of(org=1))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8650", Address("http", "127.0.0.1", 8650)),
        ("http://gateway", Address("http", "gateway", 80)),
        ("https://gateway/base/path/", Address("https", "gateway", 443, "/base/path")),
        ("http://[::1]:8650", Address("http", "::1", 8650)),
        ("unix:///run/x.sock", Address("unix", socket="/run/x.sock")),
    ],
)
def test_an_address_is_read_from_a_url_and_written_back(url: str, address: Address) -> None:
    assert Address.parse(url) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8650", "ftp://host", "http://", "http:///path", "http://host:port"),
        *("http://me:secret@host", "http://host?x=1", "http://host#x", "http://host:99999"),
        *("unix://run/x.sock", "unix:", "unix://", "http://host/a b", "http://host/é"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url|[Pp]ort"):
        Client(url)


def test_the_address_comes_from_the_argument_then_the_environment_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    assert str(Address.resolve(None)) == DEFAULT_URL
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "http://from-environment:1")
    assert str(Address.resolve(None)) == "http://from-environment:1"
    assert str(Address.resolve("http://argument:1")) == "http://argument:1"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    assert str(Address.resolve(None)) == DEFAULT_URL


def test_a_timeout_is_one_number_or_two() -> None:
    assert Timeout.of(3) == Timeout(3, 3)
    assert Timeout.of(Timeout(1, None)) == Timeout(1, None)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            Timeout.of(wrong)


@pytest.mark.parametrize("wrong", [{"connect_for": -1}, {"first_wait": 0}, {"longest_wait": 0.01}])
def test_a_retry_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        Retry(**wrong)


@given(
    st.builds(Retry, st.floats(0, 100), st.floats(0.01, 0.1), st.floats(0.1, 5)),
    st.integers(1, 10_000),
    st.floats(0, 200),
)
def test_a_wait_is_short_and_never_beyond_the_limit(
    retry: Retry, failures: int, elapsed: float
) -> None:
    wait = retry.wait(failures, elapsed)

    if wait is None:
        assert elapsed >= retry.connect_for
    else:
        assert 0 < wait <= retry.longest_wait
        assert elapsed + wait <= retry.connect_for + 1e-9


def test_waits_double_up_to_the_longest() -> None:
    retry = Retry(connect_for=5, first_wait=0.1, longest_wait=0.5)

    assert [retry.wait(failures, 0) for failures in (1, 2, 3, 4, 99)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert retry.wait(1, 4.95) == pytest.approx(0.05)
    assert Retry(0).wait(1, 0) is None


ASKED = st.tuples(st.integers(0, 50), st.none() | st.integers(1, 50)).map(
    lambda pair: (pair[0], None if pair[1] is None else pair[0] + pair[1])
) | st.tuples(st.integers(-50, -1), st.none())


@given(ASKED, st.integers(1, 60))
def test_the_range_that_is_answered_is_the_slice_that_was_asked_for(
    asked: tuple[int, int | None], total: int
) -> None:
    wanted = range(total)[slice(*asked)]
    request = plan_get(PLACE, "k", asked, Conditions(), "identity")

    def answered(first: int, last: int) -> ByteRange:
        header = ("content-range", f"bytes {first}-{last}/{total}")
        return read_range(request, ResponseHead(206, (header,)), asked)

    if wanted:
        assert answered(wanted.start, wanted.stop - 1) == (wanted.start, wanted.stop, total)
        with pytest.raises(ProtocolError):
            answered(wanted.start + 1, wanted.stop - 1)
        with pytest.raises(ProtocolError):
            answered(wanted.start, wanted.stop)


@given(st.dictionaries(st.sampled_from(["prefix", "limit"]), st.none() | st.text("a &=+%é?#/;")))
def test_what_a_page_asks_for_survives_its_target(query: dict[str, str | None]) -> None:
    target = parse_target(plan_page(PLACE, query).target)

    assert target is not None
    assert (target.usecase, target.scopes, target.key) == ("abc", Scopes.of(org=1), None)
    assert target.query == {name: value for name, value in query.items() if value is not None}


@pytest.mark.parametrize(
    "headers",
    [{"content-length": "1"}, {"Host": "x"}, {"x": "a\r\nb"}, {"x y": "a"}, {"x": "é"}, {"": "a"}],
)
def test_headers_that_cannot_go_with_every_request_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        Client(headers=headers)


@pytest.mark.parametrize("usecase", ["", "ab", "a b"])
def test_a_session_of_a_usecase_that_cannot_be_is_refused(usecase: str) -> None:
    with pytest.raises(ValueError, match="usecase"):
        Client().session(usecase)
    with pytest.raises(ValueError, match="scope"):
        Client().session("abc", org="a.b")
    with pytest.raises(ValueError, match="pool_size"):
        Client(pool_size=-1)


@pytest.mark.parametrize("key", [None, 5, b"k"])
def test_a_key_that_is_no_text_is_refused_before_anything_is_sent(key: object) -> None:
    session = Client("http://127.0.0.1:1").session("abc")

    for call in (session.get, session.head, session.delete, session.object_url):
        with pytest.raises(TypeError, match=r"key=.* must be text, not "):
            call(key)  # type: ignore[arg-type]  # that is the point
