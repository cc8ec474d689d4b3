"""What was found of an engine, kept in the bucket itself, for every gateway and for ever: were the
layout of keys to change, objects would be lost from sight.
"""

import asyncio
import logging
import secrets
from functools import partial

import msgspec

from pannier_gateway.errors import ObjectNotFound, StoreMisanswered
from pannier_gateway.stores.s3.bucket import S3Bucket
from pannier_gateway.stores.s3.persistent import Persistent, steadily
from pannier_gateway.stores.s3.probe import Probe, Unblamed
from pannier_gateway.stores.s3.traits import Traits

log = logging.getLogger("pannier.store")

FINDINGS = "engine.json"


class Promise:
    """The traits of a bucket's engine, found out when they are first asked for.

    While that fails, whoever asks hears why, and the next one tries again.
    """

    def __init__(self, bucket: S3Bucket, own: str, *, read_only: bool) -> None:
        self._bucket = bucket
        self._own = own
        self._read_only = read_only
        self._asking: asyncio.Task[Traits] | None = None
        self.traits: Traits | None = None

    def __repr__(self) -> str:
        return f"<Promise of {self._bucket.place}: {self.traits}>"

    def __str__(self) -> str:
        if self.traits is None:
            return "not probed yet"
        return f"{self.traits.told}; {'; '.join(self.traits.weaknesses) or 'no weakness'}"

    async def __call__(self) -> Traits:
        """Raises what the store answers with."""
        if self.traits is not None:
            return self.traits
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._find_out())
        return await asyncio.shield(self._asking)

    async def _find_out(self) -> Traits:
        self.traits = found = await remembered(self._bucket, self._own, read_only=self._read_only)
        log.info(
            "store probed",
            extra={"store": self._bucket.place, "traits": msgspec.to_builtins(found)},
        )
        return found


async def remembered(bucket: S3Bucket, own: str, *, read_only: bool) -> Traits:
    """The traits as they were found first, or are now. Raises what the store answers with."""
    asked = bucket.through(Unblamed, Persistent)
    found = await steadily(partial(findings, asked, own))
    if found is not None:
        return found
    if read_only:
        return Traits()
    found = await Probe(asked, f"{own}probe/{secrets.token_hex(8)}/").traits()
    text, kind = msgspec.json.encode(found), {"content-type": "application/json"}
    await asked.put(f"{own}{FINDINGS}", text, kind, found.checksum)
    return found


async def findings(bucket: S3Bucket, own: str) -> Traits | None:
    """The traits as they were found first; None where nobody has probed yet."""
    key = f"{own}{FINDINGS}"
    try:
        async with await bucket.read(key) as answer:
            text = await answer.whole(1 << 16)
    except ObjectNotFound:
        return None
    try:
        return msgspec.json.decode(text, type=Traits)
    except msgspec.MsgspecError as error:
        raise StoreMisanswered(
            f"{bucket.place}: {key} can't be read: {error}: it says how the keys of this bucket "
            "are laid out; restore it, or run a newer gateway"
        ) from error
