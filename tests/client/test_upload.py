"""What can be put, how it goes over the wire, and what happens when it goes wrong midway."""

import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pannier import (
    Client,
    ConnectionFailed,
    NotFound,
    ProtocolError,
    Session,
    SourceChanged,
    StorageFull,
    Timeout,
    TooLarge,
)
from pannier.errors import Subject
from pannier.source import Data, open_source
from support.scripted import OK_PUT, Peer, answer, serving

BIG = os.urandom(1 << 20) * 5


def session(url: str) -> Session:
    return Client(url, pool_size=0, timeout=10).session("abc")


class Unseekable(io.BytesIO):
    def tell(self) -> int:
        raise OSError("a pipe has no place")


def a_path(folder: Path) -> Path:
    path = folder / "data"
    path.write_bytes(BIG)
    return path


def a_file_in_its_middle(folder: Path) -> Data:
    path = folder / "data"
    path.write_bytes(b"skipped" + BIG)
    file = io.BytesIO(path.read_bytes())
    file.seek(7)
    return file


SIZED: list[Callable[[Path], Data]] = [
    lambda _: BIG,
    lambda _: bytearray(BIG),
    lambda _: memoryview(BIG).cast("I"),
    a_path,
    a_file_in_its_middle,
]
UNSIZED: list[Callable[[Path], Data]] = [
    lambda _: Unseekable(BIG),
    lambda _: [BIG[:3], b"", BIG[3:]],
    lambda _: (BIG[i : i + 999] for i in range(0, len(BIG), 999)),
]


@pytest.mark.parametrize("make", SIZED)
def test_data_of_known_size_goes_with_its_length(
    make: Callable[[Path], Data], tmp_path: Path
) -> None:
    with serving(OK_PUT) as server:
        stored = session(server.url).put(make(tmp_path), "k")

    assert server.request.body == BIG
    assert server.request.headers["content-length"] == str(len(BIG))
    assert "transfer-encoding" not in server.request.headers
    assert stored.size == len(BIG)


@pytest.mark.parametrize("make", UNSIZED)
def test_data_of_unknown_size_goes_in_chunks(make: Callable[[Path], Data], tmp_path: Path) -> None:
    with serving(OK_PUT) as server:
        stored = session(server.url).put(make(tmp_path), "k")

    assert server.request.body == BIG
    assert server.request.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in server.request.headers
    assert stored.size == len(BIG)


@pytest.mark.parametrize("empty", [b"", [], io.BytesIO(), Unseekable()])
def test_nothing_can_be_stored_too(empty: Data) -> None:
    with serving(OK_PUT) as server:
        stored = session(server.url).put(empty, "k")

    assert server.request.body == b""
    assert stored.size == 0


@pytest.mark.parametrize(
    ("data", "again"),
    [(b"bytes", True), (io.BytesIO(b"bytes"), True), ([b"bytes"], True), (iter([b"bytes"]), False)],
)
def test_what_can_be_had_again_can_be_sent_again(data: Data, again: bool) -> None:
    with open_source(data) as source:
        assert source.can_begin
        assert next(source.blocks(Subject("put", "abc"))) == b"bytes"
        assert source.can_begin is again
        if again:
            assert list(source.blocks(Subject("put", "abc"))) == [b"bytes"]
            assert repr(source).startswith("<Source 5/")


@pytest.mark.parametrize("text", ["text", io.StringIO("text"), 3])
def test_text_is_refused_before_anything_is_sent(text: Data) -> None:
    with pytest.raises(TypeError, match="put"):
        session("http://127.0.0.1:9").put(text, "k")


def test_pieces_that_are_text_drop_the_upload() -> None:
    said = pytest.raises(TypeError, match="put stores pieces of bytes, not of str")
    with serving(Peer.wait_for_end) as server, said:
        session(server.url).put(["text"], "k")  # type: ignore[list-item]  # that is the point


class Lying(io.BytesIO):
    """A file that measures five bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return 5 if whence == 2 else super().seek(offset)


@pytest.mark.parametrize("content", [b"four", b"sixsix", b"", b"5" * (3 << 20)])
def test_a_file_that_changes_its_size_is_never_taken_for_whole(content: bytes) -> None:
    received = []

    def script(peer: Peer) -> None:
        peer.read_head()
        received.append(peer.wait_for_end())

    with serving(script) as server, pytest.raises(SourceChanged, match=r"put 'k'.*5 bytes"):
        session(server.url).put(Lying(content), "k")

    assert len(received[0]) < 5


def test_what_the_source_raises_comes_through_and_ends_the_connection() -> None:
    received = []

    def script(peer: Peer) -> None:
        peer.read_head()
        received.append(peer.wait_for_end())

    def pieces() -> Iterator[bytes]:
        yield BIG[:100_000]
        raise OSError("disk on fire")

    with serving(script) as server, pytest.raises(OSError, match="disk on fire"):
        session(server.url).put(pieces(), "k")

    assert received[0].endswith(BIG[99_000:100_000] + b"\r\n")


class NonBlocking(Unseekable):
    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 3, 3)) or None  # type: ignore[return-value]  # as raw files do


def test_a_file_with_nothing_to_read_yet_has_not_ended() -> None:
    with serving(Peer.wait_for_end) as server, pytest.raises(BlockingIOError):
        session(server.url).put(NonBlocking(b"abcdef"), "k")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("413 Content Too Large", TooLarge),
        ("404 Not Found", NotFound),
        ("507 Insufficient Storage", StorageFull),
    ],
)
@pytest.mark.parametrize("ending", ["close", "reset", "stay"])
@pytest.mark.parametrize("body", [BIG * 4, [BIG] * 4], ids=["sized", "chunked"])
def test_a_refusal_before_the_end_of_the_body_is_reported(
    status: str, error: type[Exception], ending: str, body: Data
) -> None:
    left = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(answer(status, b'{"detail": "no, thanks"}'))
        if ending == "reset":
            peer.reset()
        if ending == "stay":  # neither reads nor hangs up
            left.wait(10)

    with serving(script) as server:
        with pytest.raises(error, match="no, thanks"):
            session(server.url).put(body, "k")
        left.set()


def test_praise_before_the_end_of_the_body_is_believed_by_nobody() -> None:
    left = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(OK_PUT)
        left.wait(10)

    with serving(script) as server:
        with pytest.raises(ProtocolError, match="before it had all"):
            session(server.url).put(BIG * 4, "k")
        left.set()


def test_an_interim_answer_does_not_stop_an_upload() -> None:
    def script(peer: Peer) -> None:
        head = peer.read_head()
        assert head is not None
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        assert peer.read_body(head) == BIG * 4
        peer.send(OK_PUT)

    with serving(script) as server:
        assert session(server.url).put(BIG * 4, "k").etag == "e1"


def test_a_server_that_hangs_up_midway_is_a_failed_connection() -> None:
    with serving(Peer.read_head) as server, pytest.raises(ConnectionFailed, match="put 'k'"):
        session(server.url).put(BIG * 4, "k")

    assert server.connections == 1


def test_a_server_that_stops_reading_is_left_after_the_timeout() -> None:
    left = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        left.wait(10)

    with serving(script) as server:
        impatient = Client(server.url, timeout=Timeout(connect=5, read=0.05), pool_size=0)
        with pytest.raises(TimeoutError, match="stopped taking"):
            impatient.session("abc").put(BIG * 8, "k")
        left.set()
