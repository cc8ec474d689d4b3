"""Any other server of the objectstore protocol as a store, as far as the protocol goes.

It has no conditions, no lists and no dates to set. What rests on them is refused, and not done in
a way that could go wrong; deadlines the server moves by itself when it is read from.
"""

from collections.abc import Callable
from typing import NoReturn

from msgspec import Struct

from pannier.protocol.expiration import MANUAL, Expiration
from pannier.protocol.malformed import Malformed
from pannier.protocol.metadata import Metadata
from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import (
    BadRequest,
    NotOffered,
    ObjectNotFound,
    StoreMisanswered,
)
from pannier_gateway.moments import duration, microseconds
from pannier_gateway.stores.base import (
    Attributes,
    Draft,
    Listing,
    Record,
    Source,
    encoded_etag,
    is_etag,
)
from pannier_gateway.stores.exchanging import MOST_TOLD
from pannier_gateway.stores.remote import stated_size
from pannier_gateway.stores.upstream.reader import UpstreamReader
from pannier_gateway.stores.upstream.targets import existing_target, target_of
from pannier_gateway.upstream.connection import Answer
from pannier_gateway.upstream.request import Streamed

AS_STORED = {"accept-encoding": "zstd"}


class Named(Struct):
    """What an objectstore says of an object that it has stored."""

    key: str


class PlainStore(UpstreamReader):
    """Implements Store."""

    told = (
        "an objectstore that is no gateway: conditional writes and lists are refused (501), "
        "it alone decides when objects expire"
    )

    asked = AS_STORED

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        """The protocol wants to know all but the bytes before them, so `draft` is asked first."""
        self._check(conditions)
        headers = metadata_headers(draft().attributes)
        body = Streamed(aiter(source)) if source.whole is None else source.whole
        target = target_of(path, self._prefix)
        async with self._server.ask("PUT", target, headers, body) as answer:
            self._server.understood(await answer.whole(MOST_TOLD), Named)
        return await self.head(path)  # nothing else tells what it is called there

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        """True where there was none, too: the protocol does not tell."""
        self._check(conditions)
        try:
            await self._server.have_done("DELETE", existing_target(path, self._prefix))
        except ObjectNotFound:
            return False
        return True

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        return False  # reading it has moved its deadline already

    async def list(self, listing: Listing) -> NoReturn:
        raise NotOffered(f"{self._server.place} can't list objects: the protocol has no way")

    def _check(self, conditions: Conditions) -> None:
        if conditions.guards_writes:
            raise NotOffered(
                f"{self._server.place} obeys no conditions (if-match, if-none-match): write without"
            )

    def _record(self, path: str, answer: Answer) -> Record:
        try:
            metadata = Metadata.from_response_headers(answer.headers.items())
        except Malformed as error:
            raise StoreMisanswered(f"{self._server.place}: {error}") from error
        if metadata.time_created is None:
            raise StoreMisanswered(f"{self._server.place} does not tell when {path!r} was written")
        size = metadata.size if metadata.size is not None else stated_size(answer.headers)
        if size is None:
            raise StoreMisanswered(f"{self._server.place} does not tell the size of {path!r}")
        etag = etag_of(metadata, size)
        if not is_etag(etag):
            raise StoreMisanswered(f"{self._server.place} tells no etag, but {etag[:40]!r}")
        created, expires = metadata.time_created, metadata.time_expires
        return Record(path, size, etag, created, expires, attributes_of(metadata))


def attributes_of(metadata: Metadata) -> Attributes:
    expiration = metadata.expiration or MANUAL
    return Attributes(
        content_type=metadata.content_type,
        encoding=metadata.compression,
        by_client=metadata.compression is not None,
        original_size=metadata.original_size,
        policy=expiration.policy,
        after=microseconds(expiration.after),
        origin=metadata.origin,
        filename=metadata.filename,
        custom=metadata.custom,
    )


def metadata_headers(attributes: Attributes) -> dict[str, str]:
    """Raises BadRequest for what no header can say."""
    metadata = Metadata(
        content_type=attributes.content_type,
        compression=attributes.encoding,
        expiration=Expiration(attributes.policy, duration(attributes.after)),
        origin=attributes.origin,
        filename=attributes.filename,
        custom=attributes.custom,
    )
    try:
        return metadata.to_request_headers()
    except Malformed as error:
        raise BadRequest(str(error)) from error


def etag_of(metadata: Metadata, size: int) -> str:
    """What tells this version from others: the server's tag, or else when it was written."""
    if metadata.etag is None:
        return f"{metadata.time_created:x}-{size:x}"
    suffix = encoded_etag("")
    return metadata.etag.removesuffix(suffix) if metadata.compression else metadata.etag
