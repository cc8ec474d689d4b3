"""Bodies cut into parts."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import TooLarge
from pannier_gateway.stores.s3 import multipart
from pannier_gateway.stores.s3.multipart import FIRST_PARTS, GROWING, MOST_PARTS, Parts, part_size


async def pieces(sizes: list[int]) -> AsyncIterator[bytes]:
    for number, size in enumerate(sizes):
        yield bytes([number % 256]) * size


@given(st.lists(st.integers(0, 35), max_size=12))
async def test_parts_are_full_but_the_last_and_come_to_the_whole(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multipart, "FIRST_PARTS", 10)
        cut = Parts(pieces(sizes))
        parts = [bytes(await cut.next())]
        while not cut.ended:
            parts.append(bytes(await cut.next()))

    assert b"".join(parts) == b"".join([piece async for piece in pieces(sizes)])
    assert all(len(part) == 10 for part in parts[:-1])
    assert 0 < len(parts[-1]) <= 10 or parts == [b""]


def test_parts_grow_so_that_ten_thousand_hold_what_s3_keeps() -> None:
    sizes = [part_size(number) for number in range(1, MOST_PARTS + 1)]

    assert sizes[0] == FIRST_PARTS == sizes[GROWING - 1]
    assert sizes[GROWING] == 2 * FIRST_PARTS
    assert sum(sizes) > 5 << 40
    with pytest.raises(TooLarge):
        part_size(MOST_PARTS + 1)
