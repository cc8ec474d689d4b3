"""Usecases, scopes and keys: which are names, and what they become in storage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.protocol import Malformed
from pannier.protocol.names import Scopes, check_key, check_usecase, storage_prefix

SCOPE_WORDS = st.text("abcXYZ019_-()$!+'", min_size=1, max_size=8)


@pytest.mark.parametrize("usecase", ["abc", "A-b_9", "x" * 64])
def test_a_usecase_of_allowed_characters_is_returned_as_it_came(usecase: str) -> None:
    assert check_usecase(usecase) == usecase


@pytest.mark.parametrize("usecase", ["", "ab", "x" * 65, "a.b", "a/b", "päd", "abc\n", "a b"])
def test_any_other_usecase_is_refused(usecase: str) -> None:
    with pytest.raises(Malformed, match="usecase"):
        check_usecase(usecase)


@given(st.lists(st.tuples(SCOPE_WORDS, SCOPE_WORDS), max_size=4))
def test_scopes_survive_the_wire_in_order(pairs: list[tuple[str, str]]) -> None:
    scopes = Scopes(tuple(pairs))

    assert Scopes.parse(str(scopes)) == scopes


def test_scopes_are_taken_in_keyword_order_and_become_a_path() -> None:
    scopes = Scopes.of(org=42, project="a", live=True)

    assert str(scopes) == "org=42;project=a;live=True"
    assert scopes.path == "org.42/project.a/live.True"
    assert Scopes.of(project="a", org=42) != Scopes.of(org=42, project="a")


def test_no_scopes_are_written_as_an_underscore() -> None:
    assert str(Scopes()) == "_"
    assert Scopes.parse("_") == Scopes()
    assert Scopes().path == ""


@pytest.mark.parametrize(
    "text", ["", "org", "org=", "=1", "org=1;", ";", "org=1;_", "a.b=1", "a=b.c", "a=b/c", "a=b=c"]
)
def test_malformed_scopes_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="scope"):
        Scopes.parse(text)


def test_scopes_made_in_code_obey_the_same_grammar() -> None:
    with pytest.raises(Malformed, match=r"org=a\.b"):
        Scopes.of(org="a.b")


def test_the_storage_prefix_spells_usecase_and_scopes() -> None:
    assert storage_prefix("abc", Scopes()) == "abc/objects/"
    assert storage_prefix("abc", Scopes.of(org=1, project=2)) == "abc/org.1/project.2/objects/"


@pytest.mark.parametrize("key", ["../../x", "a//b", "/lead", "%25", ".", "a b", "é", "x" * 1024])
def test_a_key_is_any_text(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 1025, "é" * 513, "\ud800"])
def test_no_key_is_empty_or_too_long_or_beyond_utf8(key: str) -> None:
    with pytest.raises(Malformed, match="key"):
        check_key(key)
