"""An upload of another gateway on its way in: taken as it is, once its seal has shown that it may.

What a usecase does with bodies has been done where the body came from; what it allows counts here.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable

from awscrt.checksums import crc64nvme

from pannier_gateway.errors import BadRequest
from pannier_gateway.stores.base import Draft
from pannier_gateway.stores.records import LENGTH, LONGEST_SEAL, Unreadable, unsealed
from pannier_gateway.uploads import Body, check_whole

AT_ONCE = 128 * 1024  # bytes up to which a body is taken before it is stored
HELD_BACK = LONGEST_SEAL + LENGTH  # bytes that may be the seal

Check = Callable[[int, Draft | None], None]
"""Raises what is to be said against an upload of so many bytes, so far or (with a draft) in all."""


class Sealed:
    """A Source; `draft` is what its seal says, once the last byte has been taken."""

    def __init__(self, body: Body, check: Check) -> None:
        self.whole: bytes | None = None
        self._body = body
        self._check = check
        self._draft: Draft | None = None

    def __repr__(self) -> str:
        return f"<Sealed {'read' if self._draft else 'on its way'}>"

    def draft(self) -> Draft:
        assert self._draft is not None  # a store asks once the last byte has come
        return self._draft

    async def take_small(self) -> None:
        """Have all of a small body at hand. Raises BadRequest, and what the check raises."""
        if self._body.length is not None and self._body.length <= AT_ONCE:
            self.whole = b"".join([piece async for piece in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.whole is not None:
            yield self.whole
            return
        held: deque[bytes] = deque()
        waiting, size, checksum = 0, 0, 0
        async for piece in self._pieces():
            held.append(piece)
            waiting += len(piece)
            while waiting - len(held[0]) >= HELD_BACK:
                first = held.popleft()
                waiting -= len(first)
                size += len(first)
                checksum = crc64nvme(first, checksum)
                self._check(size, None)
                yield first
        rest, draft = unsealed_by_the_book(b"".join(held), checksum)
        self._check(size + len(rest), draft)
        self._draft = draft
        if rest:
            yield rest

    async def _pieces(self) -> AsyncIterator[bytes]:
        """All of the body. Raises BadRequest where it ends too early."""
        size = 0
        async for piece in self._body:
            size += len(piece)
            yield piece
        check_whole(self._body, size)


def unsealed_by_the_book(tail: bytes, checksum: int) -> tuple[bytes, Draft]:
    try:
        return unsealed(tail, checksum)
    except Unreadable as error:
        raise BadRequest(str(error)) from error
