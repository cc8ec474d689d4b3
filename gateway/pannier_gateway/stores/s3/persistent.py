"""A bucket that is asked again, at once, where a connection ends: for a probe, which asks a hundred
things in a row, and would begin anew with the first that nobody answers; a listing would, too."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from pannier_gateway.errors import PannierError
from pannier_gateway.stores.exchanging import MOST_TOLD
from pannier_gateway.stores.s3.bodies import Body, Checksum
from pannier_gateway.stores.s3.bucket import Call, Headers, S3Bucket, SentPart
from pannier_gateway.upstream.connection import Answer
from pannier_gateway.upstream.errors import AnswerCut, NoAnswer

TRIES = 6  # the first included

T = TypeVar("T")


class Persistent(S3Bucket):
    """Does again what may be done twice: nothing that carries a condition, or begins or ends an
    upload."""

    async def head(self, key: str) -> Answer:
        return await steadily(partial(super().head, key))

    async def upload_part(
        self, key: str, part: Headers, body: Body, checksum: Checksum = "crc64nvme"
    ) -> SentPart:
        return await steadily(partial(super().upload_part, key, part, body, checksum))

    async def _done(self, call: Call, most: int = MOST_TOLD) -> bytes:
        once = partial(super()._done, call, most)
        return await (steadily(once) if repeatable(call) else once())


def repeatable(call: Call) -> bool:
    conditional = any("if-match" in name or "if-none-match" in name for name in call.headers)
    return call.method != "POST" and not conditional


async def steadily(step: Callable[[], Awaitable[T]], tries: int = TRIES) -> T:
    """What `step` returns, done again where a connection ends meanwhile. Raises what it raises."""
    for _ in range(tries - 1):
        try:
            return await step()
        except PannierError as error:
            if not ended_early(error):
                raise
    return await step()


def ended_early(error: PannierError) -> bool:
    """Whether the connection was there, and ended before the answer did."""
    return isinstance(error.__cause__, NoAnswer | AnswerCut)
