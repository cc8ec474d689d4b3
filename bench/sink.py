"""An engine of S3 that throws away what it is given: for more uploads than a disk has room for.

It looks at every checksum that comes, and at the list of parts that ends an upload, and says of its
own what an engine says. There is nothing to be read from it.
"""

import argparse
import asyncio
import base64
import sys
from collections.abc import Iterator
from secrets import token_hex
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop
from awscrt.checksums import crc64nvme
from msgspec import Struct

from bench.process import Command
from pannier_gateway.stores.s3.answers import parsed, said

PIECE = 256 * 1024
CHECKSUM = "x-amz-checksum-crc64nvme"
SCRATCH = memoryview(bytearray(PIECE))  # of all connections: nothing stays in it

Parts = dict[int, str]  # the tag of each


class Head(Struct, frozen=True):
    """A request without its body. `subject` is what the query names: `uploadId` and the like."""

    method: str
    path: str
    subject: dict[str, str]
    headers: dict[str, str]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


class Body:
    """What has come of a body: its checksum, and its text where somebody has to look at that."""

    def __init__(self, head: Head) -> None:
        self.owed = head.length
        self.checksum = 0
        self.text: bytes | None = b"" if head.method == "POST" else None

    def take(self, data: memoryview) -> None:
        self.owed -= len(data)
        self.checksum = crc64nvme(data, self.checksum)
        if self.text is not None:
            self.text += data

    @property
    def tag(self) -> str:
        """The checksum, as S3 writes it."""
        return base64.b64encode(self.checksum.to_bytes(8, "big")).decode()


class Sink:
    """The uploads that have begun."""

    def __init__(self) -> None:
        self._uploads: dict[str, Parts] = {}

    def answer(self, head: Head, body: Body) -> bytes:
        """To a request of which all has come."""
        if head.headers.get(CHECKSUM, body.tag) != body.tag:
            return refusal(400, "BadDigest")
        match head.method:
            case "PUT":
                return self._put(head, body)
            case "POST" if "uploads" in head.subject:
                return self._begin()
            case "POST":
                return self._finish(head, body)
            case "DELETE":
                self._uploads.pop(head.subject.get("uploadId", ""), None)
                return rendered(204)
        return refusal(404, "NoSuchKey", bodiless=head.method == "HEAD")

    def _put(self, head: Head, body: Body) -> bytes:
        number = head.subject.get("partNumber")
        if number is not None:
            parts = self._uploads.get(head.subject.get("uploadId", ""))
            if parts is None:
                return refusal(404, "NoSuchUpload")
            parts[int(number)] = f'"{body.tag}"'
        return rendered(200, {"etag": f'"{body.tag}"', CHECKSUM: body.tag})

    def _begin(self) -> bytes:
        name = token_hex(8)
        self._uploads[name] = {}
        told = f"<UploadId>{name}</UploadId>"
        return rendered(200, text=enclosed("InitiateMultipartUploadResult", told))

    def _finish(self, head: Head, body: Body) -> bytes:
        parts = self._uploads.pop(head.subject.get("uploadId", ""), None)
        if parts is None:
            return refusal(404, "NoSuchUpload")
        assert body.text is not None
        named = parsed(body.text).iter("Part")
        listed = {int(said(each, "PartNumber")): said(each, "ETag") for each in named}
        if not listed or listed != parts:
            return refusal(400, "InvalidPart")
        told = f'<ETag>"{token_hex(8)}-{len(parts)}"</ETag>'
        return rendered(200, text=enclosed("CompleteMultipartUploadResult", told))


class Connection(asyncio.BufferedProtocol):
    """One connection, one request after the other."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._unread = b""
        self._head: Head | None = None
        self._body: Body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return SCRATCH

    def buffer_updated(self, nbytes: int) -> None:
        data = SCRATCH[:nbytes]
        while data:
            data = self._read_head(data) if self._head is None else data
            if self._head is not None:
                data = self._read_body(self._head, data)

    def _read_head(self, data: memoryview) -> memoryview:
        """Take what belongs to a head; what is left."""
        known = len(self._unread)
        self._unread += data
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            return data[len(data) :]
        self._head = head_of(self._unread[:end].decode())
        self._body = Body(self._head)
        self._unread = b""
        return data[end + 4 - known :]

    def _read_body(self, head: Head, data: memoryview) -> memoryview:
        """Take what belongs to the body, and answer when that was all; what is left."""
        mine, rest = data[: self._body.owed], data[self._body.owed :]
        self._body.take(mine)
        if not self._body.owed:
            self._head = None
            self._transport.write(self._sink.answer(head, self._body))
        return rest


def head_of(text: str) -> Head:
    first, *lines = text.split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    where = urlsplit(target)
    query = parse_qs(where.query, keep_blank_values=True)
    return Head(method, where.path, {name: found[0] for name, found in query.items()}, headers)


def refusal(status: int, code: str, *, bodiless: bool = False) -> bytes:
    return rendered(status, text="" if bodiless else enclosed("Error", f"<Code>{code}</Code>"))


def enclosed(tag: str, told: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><{tag}>{told}</{tag}>'


def rendered(status: int, headers: dict[str, str] | None = None, text: str = "") -> bytes:
    return "\r\n".join([*_lines(status, headers or {}, text), "", text]).encode()


def _lines(status: int, headers: dict[str, str], text: str) -> Iterator[str]:
    yield f"HTTP/1.1 {status} -"
    yield from (f"{name}: {value}" for name, value in headers.items())
    if status != 204:
        yield f"content-length: {len(text)}"


def command(cpu: int, port: int) -> Command:
    """How to start it."""
    return Command("sink", [sys.executable, "-m", "bench.sink", str(port)], "/", cpu, port=port)


async def serve(port: int) -> None:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(sink), "127.0.0.1", port
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sink", description=__doc__)
    parser.add_argument("port", type=int)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
