"""Mistakes in a call are told in the caller's words, before anything is sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pannier import Client, Expiration, Session

NOBODY = "http://127.0.0.1:1"  # whoever sent something there would say so

Call = Callable[[Any], object]  # Any: a wrong argument is what these tests are about

CALLS: list[tuple[Call, type[Exception], str]] = [
    (lambda s: s.put(b"x", 5), TypeError, "key=5 must be text, not int"),
    (lambda s: s.get(b"k"), TypeError, "key=b'k' must be text, not bytes"),
    (lambda s: s.get("k", range="0-4"), TypeError, "range='0-4' must be (start, stop) with 0 <="),
    (lambda s: s.get("k", range=(0, 4, 5)), TypeError, "range=(0, 4, 5) must be (start, stop)"),
    (lambda s: s.get("k", range=(0.5, 4)), TypeError, "range=(0.5, 4) must be (start, stop)"),
    (lambda s: s.get("k", range=5), TypeError, "range=5 must be (start, stop)"),
    (lambda s: s.get("k", range=(4, 4)), ValueError, "range=(4, 4) must be (start, stop)"),
    (lambda s: s.get("k", range=(-3, 4)), ValueError, "(-n, None) for the last n bytes"),
    (lambda s: s.get("k", if_match=5), TypeError, "if_match=5 must be text"),
    (lambda s: s.put(b"", "k", custom={"a": 1}), TypeError, "custom={'a': 1} must be text on both"),
    (lambda s: s.put(b"", "k", custom={1: "a"}), TypeError, "custom={1: 'a'} must be text on both"),
    (lambda s: s.put(b"", "k", custom=["a"]), TypeError, "custom must be a mapping of text to tex"),
    (lambda s: s.put(b"", "k", content_type=5), TypeError, "content_type=5 must be text, not int"),
    (lambda s: s.put(b"", "k", origin=5), TypeError, "origin=5 must be text, not int"),
    (lambda s: s.put(b"", "k", filename=Path("x")), TypeError, "must be text, not PosixPath"),
    (lambda s: s.put(b"", "k", if_none_match=True), TypeError, "if_none_match=True must be text"),
    (lambda s: s.put(b"", "k", expiration="1h"), TypeError, "must be an Expiration, such as Expir"),
    (lambda s: s.put(b"", "k", precompressed="gzip"), ValueError, "'gzip' must be 'zstd'"),
    (lambda s: s.put({"a": 1}, "k"), TypeError, "put stores bytes, not dict"),
    (lambda _: Expiration.ttl(60), TypeError, "after=60 must be a timedelta"),  # type: ignore[arg-type]  # on purpose
    (lambda _: Client(timeout="5"), TypeError, "timeout='5' must be a Timeout, or a number"),  # type: ignore[arg-type]  # on purpose
    (lambda s: [*s.list(5)], TypeError, "prefix=5 must be text, not int"),
    (lambda _: Client(NOBODY).session(5), TypeError, "usecase=5 must be text"),  # type: ignore[arg-type]  # on purpose
]


@pytest.fixture
def session() -> Session:
    return Client(NOBODY).session("attachments")


@pytest.mark.parametrize(("call", "kind", "says"), CALLS, ids=[says for *_, says in CALLS])
def test_a_mistake_in_a_call_says_what_to_give_instead(
    session: Session, call: Call, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as mistake:
        call(session)

    assert says in str(mistake.value)
