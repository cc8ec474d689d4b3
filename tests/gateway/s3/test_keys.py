"""The escaping of keys: reversible, and in the order of the paths that it stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.stores.s3.keys import Layout, path_of, stored, stored_prefix

ODD = st.sampled_from(
    [*"-./! ab\n\x00\x01~0", "é", "\U0010ffff", "\ue000", "\ufffd", "\uffff", "x" * 199]
)
PATHS = st.one_of(
    st.lists(ODD, max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
ESCAPING: list[Layout] = ["escaped", "marked"]


def utf8(text: str) -> bytes:
    return text.encode()


@pytest.mark.parametrize("layout", ["plain", *ESCAPING])
@given(PATHS)
def test_a_path_comes_back_from_its_key(layout: Layout, path: str) -> None:
    assert path_of(stored(path, layout), layout) == path


@pytest.mark.parametrize("layout", ["plain", *ESCAPING])
def test_a_key_that_is_not_utf_8_is_that_of_no_path(layout: Layout) -> None:
    assert path_of(stored("a/\udcff", layout), layout) is None


@pytest.mark.parametrize("layout", ESCAPING)
@given(PATHS, PATHS)
def test_keys_are_in_the_order_of_their_paths(layout: Layout, one: str, other: str) -> None:
    in_order = utf8(one) < utf8(other)

    assert (utf8(stored(one, layout)) < utf8(stored(other, layout))) is in_order


@pytest.mark.parametrize("layout", ESCAPING)
@given(PATHS, PATHS)
def test_exactly_the_paths_with_a_prefix_have_keys_with_its_code(
    layout: Layout, prefix: str, path: str
) -> None:
    code = stored_prefix(prefix, layout)

    assert stored(prefix + path, layout).startswith(code)
    assert stored(path, layout).startswith(code) is path.startswith(prefix)


@pytest.mark.parametrize("layout", ESCAPING)
@given(PATHS)
def test_no_key_is_one_that_an_engine_rewrites(layout: Layout, path: str) -> None:
    segments = stored(path, layout).split("/")

    assert not {"", ".", ".."} & set(segments)
    assert all(len(utf8(segment)) <= 255 for segment in segments)


@given(st.lists(PATHS, max_size=8))
def test_no_marked_key_is_the_folder_of_another(paths: list[str]) -> None:
    keys = [stored(path, "marked") for path in paths]

    assert not any(other.startswith(f"{key}/") for key in keys for other in keys)


@pytest.mark.parametrize("layout", ESCAPING)
@given(PATHS)
def test_what_is_the_key_of_no_path_is_told_apart(layout: Layout, key: str) -> None:
    path = path_of(key, layout)

    assert path is None or stored(path, layout) == key


def test_ordinary_paths_stay_as_they_are() -> None:
    assert stored("models/v1.2/weights-final.bin", "escaped") == "models/v1.2/weights-final.bin"
    assert stored("models/v1.2/weights.bin", "marked") == "models/v1.2/weights.bin!"
    assert stored("a//b/../.c", "escaped") == "a/-/b/-../-.c"
