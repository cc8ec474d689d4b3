"""A bucket of S3, call by call: each method is one request, signed, and its answer understood.

What several requests make of it is decided elsewhere.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from functools import partial
from time import time
from typing import NamedTuple, TypeVar
from xml.sax.saxutils import escape

from msgspec import Struct
from msgspec.structs import replace

from pannier_gateway.errors import (
    ObjectNotFound,
    PannierError,
    PreconditionFailed,
    StoreMisanswered,
    StoreRefused,
)
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.exchanging import (
    MOST_TOLD,
    Exchanges,
    Refused,
    StoreExchange,
    expecting,
)
from pannier_gateway.stores.provision import Endpoints
from pannier_gateway.stores.remote import NoSuchRange
from pannier_gateway.stores.s3 import answers
from pannier_gateway.stores.s3.answers import (
    LARGEST_LISTING,
    ListedPage,
    NotXml,
    Refusal,
)
from pannier_gateway.stores.s3.bodies import CRC64NVME, Body, Checksum, checked, sendable
from pannier_gateway.stores.s3.credentials import CredentialSource
from pannier_gateway.stores.s3.refusals import S3, refused
from pannier_gateway.stores.s3.signing import Credentials, Signer, Unsigned
from pannier_gateway.upstream.connection import Answer, Patience
from pannier_gateway.upstream.request import Request, Streamed

UNMET = {304, 412}
SHORT = 16 * 1024  # bytes of a listing that are read within half a millisecond

Headers = Mapping[str, str]
Pieces = AsyncIterable[Buffer]
NO_HEADERS: Headers = {}


T = TypeVar("T")

_RESERVED = re.compile(rb"[^A-Za-z0-9\-_.~]+")
_RESERVED_IN_PATHS = re.compile(rb"[^A-Za-z0-9\-_.~/]+")

HEADS = {301: "PermanentRedirect", 400: "BadRequest", 403: "AccessDenied", 404: "NoSuchKey"}
NO_LIFECYCLE = "NoSuchLifecycleConfiguration"
BESIDE = {"x-amz-transition-default-minimum-object-size"}  # of lifecycle rules: what was not said
CONFLICTS = {"ConditionalRequestConflict", "PreconditionFailed"}
CONDITIONS = ("if-", "x-amz-copy-source-if-")  # how the headers begin that make a request one


class Unmet(PreconditionFailed):
    """A condition of the request does not hold, as the store sees it."""


class NoLifecycle(StoreRefused):
    """The bucket has no lifecycle rules."""


class Address(NamedTuple):
    """Which bucket: `label` is what the manifests call it. `root` is the path before every key:
    `/bucket` for path addressing, nothing for virtual hosts."""

    label: str
    name: str
    root: str

    def at(self, where: str) -> str:
        """For messages."""
        return f"Bucket {self.label} ({self.name!r} at {where})"


class Call(Struct, frozen=True):
    """One request. `key` None is the bucket itself."""

    method: str
    key: str | None = None
    query: Headers = NO_HEADERS
    headers: Headers = NO_HEADERS
    body: Buffer | Streamed = b""

    @property
    def conditional(self) -> bool:
        return conditional(self.headers)

    @property
    def stores(self) -> bool:
        """Whether it sends bytes to be kept."""
        sends = self.method == "PUT" and self.key is not None
        return sends and "x-amz-copy-source" not in self.headers

    @property
    def of_the_end(self) -> bool:
        """Whether it asks for the last bytes: some engines fail over more than there are."""
        return self.headers.get("range", "").startswith("bytes=-")


class Lifecycle(NamedTuple):
    """A bucket's lifecycle rules: the XML, and what S3 tells of them in headers."""

    text: bytes
    headers: Headers = NO_HEADERS


class SentPart(NamedTuple):
    """A part that the store has: its entity tag, and the CRC64NVME where it was sent along."""

    tag: str
    checksum: str | None = None

    def listed(self, number: int) -> str:
        given = self.checksum
        checksum = f"<ChecksumCRC64NVME>{given}</ChecksumCRC64NVME>" if given else ""
        tag = f"<ETag>{escape(self.tag)}</ETag>"
        return f"<Part><PartNumber>{number}</PartNumber>{tag}{checksum}</Part>"


class S3Bucket:
    """Raises, of PannierError, what `refusals` makes of the answers; Unmet; ObjectNotFound."""

    def __init__(
        self,
        address: Address,
        entrances: Endpoints[Entrance],
        signer: Signer,
        credentials: CredentialSource,
        patience: Patience,
    ) -> None:
        self.name = address.name
        self._address = address
        self._entrances = entrances
        self._signer = signer
        self._credentials = credentials
        self._patience = patience
        self._exchanges = Exchanges(entrances, patience, S3, address.at)
        self.place = self._exchanges.place

    def __repr__(self) -> str:
        return f"<{self.place}>"

    def through(
        self,
        wrap: Callable[[Endpoints[Entrance]], Endpoints[Entrance]],
        kind: "type[S3Bucket] | None" = None,
    ) -> "S3Bucket":
        """The same bucket, its endpoints wrapped; as one of another `kind`, where that is given."""
        among, made = wrap(self._entrances), kind or type(self)
        return made(self._address, among, self._signer, self._credentials, self._patience)

    async def read(self, key: str, headers: Headers = NO_HEADERS) -> StoreExchange:
        """The object, from which its bytes are to be taken within the block."""
        asked = {**headers, "x-amz-checksum-mode": "ENABLED"}
        return await self._asked(Call("GET", key, headers=asked))

    def pieces(self, answer: Answer) -> AsyncGenerator[Buffer, None]:
        """The body of what `read` gives."""
        return self._exchanges.pieces(answer)

    async def head(self, key: str) -> Answer:
        async with await self._asked(Call("HEAD", key)) as answer:
            return self.recognized(answer)

    def recognized(self, answer: Answer) -> Answer:
        """`answer`, about an object. Raises StoreMisanswered where no S3 would answer so."""
        if not answer.headers.get("etag"):
            raise self._misanswered("no etag")
        return answer

    async def put(
        self, key: str, body: Body, headers: Headers, checksum: Checksum = "crc64nvme"
    ) -> None:
        told = {**headers, **await checked(body, checksum)}
        await self._done(Call("PUT", key, {}, told, sendable(body)))

    async def put_slowly(self, key: str, body: bytes, pieces: Pieces, headers: Headers) -> None:
        """Put `body` as it comes in `pieces`."""
        told = {**headers, **await checked(body, "crc64nvme")}
        await self._done(Call("PUT", key, {}, told, Streamed(pieces, len(body))))

    async def delete(self, key: str, headers: Headers = NO_HEADERS) -> None:
        """Whether or not there was one."""
        if (await self._done(Call("DELETE", key, headers=headers))).strip():
            raise self._misanswered("a page where nothing should be")

    async def copy(
        self, source: str, key: str, headers: Headers, *, retagged: bool = False
    ) -> None:
        """Copy an object onto another key, or itself, with the metadata of `headers`, and their
        tags where it is `retagged`."""
        told = {
            "x-amz-copy-source": self._source(source),
            "x-amz-metadata-directive": "REPLACE",
            **headers,
        }
        if retagged:
            told["x-amz-tagging-directive"] = "REPLACE"
        self._unless_error(await self._done(Call("PUT", key, {}, told)), told)

    async def listed(
        self, prefix: str, start_after: str, most: int, token: str | None, *, encoded: bool
    ) -> ListedPage:
        """Keys in order. `encoded` asks for an encoding, for keys that XML can't hold; there are
        engines that promise it and do not do it."""
        query = {"list-type": "2", "max-keys": str(most)}
        if encoded:
            query["encoding-type"] = "url"
        if prefix:
            query["prefix"] = prefix
        if token is not None:
            query["continuation-token"] = token
        elif start_after:
            query["start-after"] = start_after
        text = await self._done(Call("GET", query=query), LARGEST_LISTING)
        read = partial(self._understood, partial(answers.listed_page, encoded=encoded), text)
        return read() if len(text) <= SHORT else await asyncio.to_thread(read)

    async def begin_upload(self, key: str, headers: Headers, *, whole_checksum: bool) -> str:
        """A multipart upload of `key`; its id."""
        told = dict(headers)
        if whole_checksum:
            told |= {
                "x-amz-checksum-algorithm": "CRC64NVME",
                "x-amz-checksum-type": "FULL_OBJECT",
            }
        text = await self._done(Call("POST", key, {"uploads": ""}, told))
        return self._understood(answers.upload_id, text)

    async def upload_part(
        self, key: str, part: Headers, body: Body, checksum: Checksum = "crc64nvme"
    ) -> SentPart:
        headers = await checked(body, checksum)
        async with await self._asked(Call("PUT", key, part, headers, sendable(body))) as answer:
            tag = self.recognized(answer).headers["etag"]
            await answer.whole(MOST_TOLD)
            return SentPart(tag, headers.get(CRC64NVME))

    async def copy_part(self, source: str, key: str, part: Headers, headers: Headers) -> SentPart:
        """Make a part of an object that is there."""
        told = {"x-amz-copy-source": self._source(source), **headers}
        text = await self._done(Call("PUT", key, part, told))
        self._unless_error(text, told)
        return SentPart(self._understood(answers.copied_tag, text))

    async def end_upload(
        self, key: str, upload_id: str, parts: Sequence[SentPart], headers: Headers
    ) -> None:
        """Make the object of its parts, in order."""
        listed = "".join(part.listed(number) for number, part in enumerate(parts, 1))
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        told = {**headers, "content-type": "application/xml"}
        text = await self._done(Call("POST", key, {"uploadId": upload_id}, told, body))
        self._unless_error(text, told)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self._done(Call("DELETE", key, {"uploadId": upload_id}))

    async def tags(self, key: str) -> dict[str, str]:
        text = await self._done(Call("GET", key, {"tagging": ""}))
        return self._understood(answers.tags, text)

    async def lifecycle(self) -> Lifecycle | None:
        """The rules by which the store deletes; None where there are none."""
        try:
            async with await self._asked(Call("GET", query={"lifecycle": ""})) as answer:
                text = await answer.whole(LARGEST_LISTING)
                return Lifecycle(text, {n: v for n, v in answer.headers.items() if n in BESIDE})
        except NoLifecycle:
            return None

    async def set_lifecycle(self, rules: Lifecycle) -> None:
        """Put these in the place of all there are."""
        body = rules.text
        told = {**rules.headers, **await checked(body, "md5"), "content-type": "application/xml"}
        await self._done(Call("PUT", None, {"lifecycle": ""}, told, body))

    async def drop_lifecycle(self) -> None:
        await self._done(Call("DELETE", None, {"lifecycle": ""}))

    # One exchange

    async def _asked(self, call: Call) -> StoreExchange:
        credentials = await self._credentials.current()
        request = partial(self._request, call, credentials)
        return StoreExchange(self._exchanges, request, partial(refusal_of, call))

    async def _done(self, call: Call, most: int = MOST_TOLD) -> bytes:
        async with await self._asked(call) as answer:
            if call.stores:
                self.recognized(answer)
            return await answer.whole(most)

    def _request(self, call: Call, credentials: Credentials | None, host: str) -> Request:
        path = self._address.root or "/"
        if call.key is not None:
            path = f"{self._address.root}/{in_path(call.key)}"
        pairs = sorted((percent(name), percent(text)) for name, text in call.query.items())
        query = "&".join(f"{name}={text}" for name, text in pairs)
        headers = {"host": host, **call.headers}
        if credentials is not None:
            unsigned = Unsigned(call.method, path, query, headers)
            headers = self._signer.sign(unsigned, credentials, int(time()))
        target = f"{path}?{query}" if query else path
        return Request(call.method, target, list(headers.items()), call.body, expecting(call.body))

    def _source(self, key: str) -> str:
        return f"/{self._address.name}/{in_path(key)}"

    def _unless_error(self, text: bytes, headers: Headers) -> None:
        """What the answer to a request with these headers says inside."""
        found = self._understood(answers.error_inside, text)
        if found is not None:
            unmet = found.code in CONFLICTS and conditional(headers)
            raise Unmet if unmet else refused(self.place, found)

    def _understood(self, read: Callable[[bytes], T], text: bytes) -> T:
        try:
            return read(text)
        except NotXml as error:
            raise self._misanswered(str(error)) from error

    def _misanswered(self, how: str) -> StoreMisanswered:
        return StoreMisanswered(
            f"{self.place} does not answer as S3 does: {how}: {S3.check}, "
            "and what stands in front of the store"
        )


def refusal_of(call: Call, told: Refused) -> PannierError:
    """What it means that the store does not do what it was asked."""
    if told.status in UNMET and call.conditional:
        return Unmet()
    what = answers.refusal(told.status, told.text)
    if call.method == "HEAD":
        what = Refusal(what.status, HEADS.get(what.status, ""), "no body, it is HEAD")
    if what.code == "NoSuchKey":
        return ObjectNotFound(f"{told.place} has no {call.key!r}")
    if what.code in CONFLICTS and call.conditional:
        return Unmet()
    if what.status == 416 or (what.status == 500 and call.of_the_end):
        return NoSuchRange(f"{told.place} has no such bytes of {call.key!r}")
    error = refused(told.place, replace(what, wait=told.wait))
    return NoLifecycle(str(error)) if what.code == NO_LIFECYCLE else error


def part(upload_id: str, number: int) -> Headers:
    """The query that names a part."""
    return {"partNumber": str(number), "uploadId": upload_id}


def conditional(headers: Headers) -> bool:
    """Whether a condition is among them: only who stated one can be told that it does not hold."""
    return any(name.startswith(CONDITIONS) for name in headers)


def percent(text: str, reserved: re.Pattern[bytes] = _RESERVED) -> str:
    """A key that is not UTF-8 becomes the bytes that it was told as."""
    return reserved.sub(escaped, text.encode(errors="surrogateescape")).decode()


def in_path(key: str) -> str:
    return percent(key, _RESERVED_IN_PATHS)


def escaped(run: re.Match[bytes]) -> bytes:
    return f"%{run[0].hex('%').upper()}".encode()
