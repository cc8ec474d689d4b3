"""What an upload sends: bytes, a file or pieces, with its size where that can be known."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import SEEK_END, TextIOBase
from pathlib import Path
from typing import Protocol, runtime_checkable

from pannier.errors import SourceChanged, Subject

BLOCK_BYTES = 1 << 20
GATHERED_BYTES = 64 << 10

Block = bytes | memoryview


@runtime_checkable
class Readable(Protocol):
    """A binary file, so far as an upload needs one; it is sent from where it stands."""

    def read(self, size: int, /) -> bytes | None: ...


@runtime_checkable
class Seekable(Readable, Protocol):
    """One whose size can be measured, and that can be sent again."""

    def tell(self) -> int: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


Data = bytes | bytearray | memoryview | os.PathLike[str] | Readable | Iterable[bytes]


class Source:
    """The bytes of one upload. `size` is None when only the end will tell."""

    def __init__(
        self, begin: Callable[[], Iterator[Block]], size: int | None, *, only_once: bool = False
    ) -> None:
        self.size = size
        self.sent = 0
        self._begin = begin
        self._only_once = only_once
        self._begun = False

    def __repr__(self) -> str:
        return f"<Source {self.sent}/{'?' if self.size is None else self.size} bytes>"

    @property
    def can_begin(self) -> bool:
        """Whether all of the bytes can (still, or again) be had."""
        return not (self._begun and self._only_once)

    def blocks(self, subject: Subject) -> Iterator[Block]:
        """Everything from the first byte, never an empty block.

        Raises SourceChanged, in the name of the subject, before more or fewer bytes than `size`
        could pass for the whole.
        """
        self._begun, self.sent = True, 0
        blocks = self._begin()
        whole = _gathered(blocks) if self.size is None else _exactly(blocks, self.size, subject)
        for block in whole:
            self.sent += len(block)
            yield block


@contextmanager
def open_source(data: Data) -> Iterator[Source]:
    """Open what `put` was given; a file opened here is closed at the end."""
    if isinstance(data, os.PathLike):
        with Path(data).open("rb", buffering=0) as file:
            yield _file_source(file)
    elif isinstance(data, str | TextIOBase | Mapping):
        raise TypeError(
            f"put stores bytes, not {type(data).__name__}: encode text, open files in binary mode, "
            "or give a pathlib.Path"
        )
    else:
        yield _source(data)


def _source(data: object) -> Source:
    view = _view(data)
    if view is not None:
        return Source(lambda: iter((view,)), view.nbytes)
    if isinstance(data, Readable):
        return _file_source(data)
    if isinstance(data, Iterable):
        return Source(lambda: iter(data), None, only_once=iter(data) is data)
    raise TypeError(f"put takes bytes, a file, a path or pieces, not {type(data).__name__}")


def _view(data: object) -> memoryview | None:
    try:
        view = memoryview(data)  # type: ignore[arg-type]  # anything with a buffer is welcome
    except TypeError:
        return None
    return view.cast("B")


def _file_source(file: Readable) -> Source:
    if isinstance(file, Seekable):
        with suppress(OSError, ValueError):  # what a pipe raises, though it has the methods
            return _measured_source(file)
    return Source(lambda: _read_blocks(file), None, only_once=True)


def _measured_source(file: Seekable) -> Source:
    start = file.tell()
    size = max(file.seek(0, SEEK_END) - start, 0)
    file.seek(start)

    def begin() -> Iterator[Block]:
        file.seek(start)
        return _read_blocks(file)

    return Source(begin, size)


def _read_blocks(file: Readable) -> Iterator[Block]:
    while block := file.read(BLOCK_BYTES):
        yield block
    if block is None:
        raise BlockingIOError("the file to upload is non-blocking and has nothing to read yet")


def _exactly(blocks: Iterator[Block], size: int, subject: Subject) -> Iterator[Block]:
    """Hold one block back, so that a surplus is noticed before the last promised byte is out."""
    held: Block = b""
    given = 0
    for block in blocks:
        if held:
            yield held
        held, given = block, given + len(block)
        if given > size:
            raise SourceChanged(f"the data measured {size} bytes and gave more", subject)
    if given < size:
        raise SourceChanged(f"the data measured {size} bytes and gave {given}", subject)
    if held:
        yield held


def _gathered(blocks: Iterator[Block]) -> Iterator[Block]:
    """Put small pieces together, so that not each becomes a packet."""
    gathered = bytearray()
    for block in blocks:
        try:
            gathered += memoryview(block)
        except TypeError as error:
            given = type(block).__name__
            raise TypeError(f"put stores pieces of bytes, not of {given}") from error
        if len(gathered) >= GATHERED_BYTES:
            yield memoryview(gathered)
            gathered = bytearray()
    if gathered:
        yield memoryview(gathered)
