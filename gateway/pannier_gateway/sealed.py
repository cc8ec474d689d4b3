"""An upload of another gateway on its way in: taken as it is, once its seal has shown that it may.

What a usecase does with bodies has been done where the body came from; what it allows counts here.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from awscrt.checksums import crc64nvme

from pannier_gateway.errors import BadRequest
from pannier_gateway.stores.base import Draft
from pannier_gateway.stores.records import Unreadable
from pannier_gateway.stores.seals import (
    LENGTH,
    LONGEST_SEAL,
    OPENING,
    read_opening,
    unsealed,
)
from pannier_gateway.uploads import Body, chained, check_whole

AT_ONCE = 128 * 1024  # bytes up to which a body is taken before it is stored
HELD_BACK = LONGEST_SEAL + LENGTH  # bytes that may be the seal

Check = Callable[[int, Draft | None], None]
"""Raises what is to be said against an upload of so many bytes, so far or (with a draft) in all."""


class Sealed:
    """A Source; `draft` is what its seal says, once the last byte has been taken, and before that
    what its opening says, in so many bytes before those of the object."""

    def __init__(self, body: Body, check: Check, opening: int = 0) -> None:
        self.whole: bytes | None = None
        self._body = body
        self._check = check
        self._opening = opening
        self._incoming = self._pieces()
        self._draft: Draft | None = None

    def __repr__(self) -> str:
        return f"<Sealed {'read' if self._draft else 'on its way'}>"

    def draft(self) -> Draft:
        """Raises BadRequest: nothing is known yet, for there was no opening."""
        if self._draft is None:
            raise BadRequest(f"a body of this length needs an opening ({OPENING})")
        return self._draft

    async def begin(self) -> None:
        """Have the opening, and all of a small body, at hand.

        Raises BadRequest, and what the check raises.
        """
        if self._opening:
            self._draft = await self._opened()
            self._check(0, self._draft)
        if self._body.length is not None and self._body.length <= AT_ONCE:
            self.whole = b"".join([piece async for piece in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.whole is not None:
            yield self.whole
            return
        held: deque[bytes] = deque()
        waiting, size, checksum = 0, 0, 0
        async for piece in self._incoming:
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

    async def _opened(self) -> Draft:
        held = b""
        async for piece in self._incoming:
            held += piece
            if len(held) >= self._opening:
                break
        self._incoming = chained(held[self._opening :], self._incoming)
        try:
            return read_opening(held[: self._opening])
        except Unreadable as error:
            raise BadRequest(str(error)) from error

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
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
