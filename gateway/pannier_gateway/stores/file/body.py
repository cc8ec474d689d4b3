"""One large body in a file of its own: the bytes, then the checksums of its blocks.

A file is written once, never changed, and named by the number of the body that it holds.
"""

import errno
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path

from pannier_gateway.errors import Damaged, StoreFull, StoreUnavailable
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.file.checksum import BLOCK, BlockChecksums, matches

log = logging.getLogger("pannier.store")

RESERVE = 32 * 1024 * 1024  # free space that no body may take: deletes need room for their commit
SHARDS = 64
NAME = re.compile(r"[0-7][0-9a-f]{15}")  # of a body's file; what else lies there is not ours
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
ENTRY = 8  # bytes of a block's checksum
NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux can say what is in memory already


class BodyFolder:
    """The folder of body files, held open: another put in its place is not taken for it.

    Its methods block: call them from a worker thread.
    """

    def __init__(self, root: Path, *, sync: bool) -> None:
        self._root = root
        self._sync = sync
        self._fd = os.open(root, FOLDER)

    def __repr__(self) -> str:
        return f"<BodyFolder {self._root}>"

    @staticmethod
    def prepare(root: Path, *, sync: bool) -> None:
        """Make what is missing."""
        for shard in range(SHARDS):
            (root / f"{shard:02x}").mkdir(parents=True, exist_ok=True)
        if sync:
            sync_folder(root)
            sync_folder(root.parent)

    def create(self, body: int) -> "BodyWriter":
        return BodyWriter(self._fd, body, sync=self._sync)

    def open(self, body: int, size: int) -> "BodyReader":
        """Raises FileNotFoundError when the body is gone, StoreUnavailable."""
        try:
            return BodyReader(self._fd, body, size)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise as_store_error(error) from error

    def remove(self, body: int) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name_of(body), dir_fd=self._fd)

    def stored(self, shard: int) -> list[int]:
        """The numbers of the bodies in one of the SHARDS folders."""
        with opened_folder(f"{shard:02x}", self._fd) as fd:
            return [int(name, 16) for name in os.listdir(fd) if NAME.fullmatch(name)]

    def highest(self) -> int:
        """The highest number that a body has; 0 where there is none."""
        return max((max(self.stored(shard), default=0) for shard in range(SHARDS)), default=0)

    def free_bytes(self) -> int:
        """Room that is left where the bodies live."""
        return free_bytes(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class BodyWriter:
    """A body file on its way to disk; it appears with the first call. The methods block."""

    def __init__(self, folder: int, body: int, *, sync: bool) -> None:
        self._folder = folder
        self._body = body
        self._sync = sync
        self._file: FileIO | None = None
        self.checksums = BlockChecksums(body)

    def append(self, pieces: Sequence[Buffer]) -> None:
        """Raises StoreFull, StoreUnavailable."""
        with disk_errors():
            file = self._opened()
            demand_room(file.fileno())
            for piece in pieces:
                self.checksums.add(piece)
                write_all(file, piece)

    def seal(self) -> None:
        """Write what is left; when this returns the body is as durable as it was asked to be."""
        with disk_errors(), self._opened() as file:
            write_all(file, self.checksums.table())
            if self._sync:
                os.fsync(file.fileno())
                sync_folder(shard_of(self._body), self._folder)

    def discard(self) -> None:
        """Remove what is there of the file; where that fails, the next start does."""
        if self._file is None:
            return
        try:
            self._file.close()
            os.unlink(name_of(self._body), dir_fd=self._folder)
        except OSError as error:
            log.warning("file not removed", extra={"body": self._body, "error": str(error)})

    def _opened(self) -> FileIO:
        if self._file is None:
            opener = partial(os.open, mode=0o666, dir_fd=self._folder)
            self._file = FileIO(name_of(self._body), "xb", opener=opener)
        return self._file


class BodyReader:
    """A body file held open."""

    def __init__(self, folder: int, body: int, size: int) -> None:
        self._body = body
        self.size = size
        self._fd = os.open(name_of(body), os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def block(self, start: int, buffer: bytearray) -> memoryview:
        """The block that begins at `start`, in `buffer`, checked. Blocks.

        Raises Damaged, StoreUnavailable.
        """
        with disk_errors():
            block = self._read(start, buffer, 0)
        if block is None:
            raise Damaged(f"{self._body:016x}: the file ends early")
        return block

    def block_at_hand(self, start: int, buffer: bytearray) -> memoryview | None:
        """The same without waiting for the disk; None where that can't be."""
        if NO_WAIT is None:
            return None
        try:
            return self._read(start, buffer, NO_WAIT)
        except OSError:  # not in memory, or a file system that can't tell
            return None

    def close(self) -> None:
        os.close(self._fd)

    def _read(self, start: int, buffer: bytearray, flags: int) -> memoryview | None:
        """None where the operating system gave less than was asked for."""
        size = min(BLOCK, self.size - start)
        block, checksum = memoryview(buffer)[:size], memoryview(bytearray(ENTRY))
        read = os.preadv(self._fd, [block], start, flags)
        entry = self.size + start // BLOCK * ENTRY
        if read + os.preadv(self._fd, [checksum], entry, flags) < size + ENTRY:
            return None
        if not matches(self._body, block, checksum):
            raise Damaged(f"{self._body:016x}: bytes {start} to {start + size} are damaged")
        return block


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the operating system says of a full or failing disk, in the store's own errors."""
    try:
        yield
    except OSError as error:
        raise as_store_error(error) from error


def as_store_error(error: OSError) -> StoreFull | StoreUnavailable:
    """The same for whoever asked; the log says more."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull()
    log.error("disk failed", extra={"error": str(error)})
    return StoreUnavailable(f"the disk failed: {error.strerror}")


def demand_room(fd: int) -> None:
    """Raises StoreFull when less than RESERVE bytes are free where `fd` lives."""
    if free_bytes(fd) < RESERVE:
        raise StoreFull()


def free_bytes(fd: int) -> int:
    """Room that is left where an open file or folder lives."""
    room = os.statvfs(fd)
    return room.f_bavail * room.f_frsize


def write_all(file: FileIO, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def name_of(body: int) -> str:
    """Of its file, as seen from the folder of all bodies."""
    return f"{shard_of(body)}/{body:016x}"


def shard_of(body: int) -> str:
    return f"{body % SHARDS:02x}"


def sync_folder(folder: Path | str, within: int | None = None) -> None:
    """Make the names in a folder durable."""
    with opened_folder(folder, within) as fd:
        os.fsync(fd)


@contextmanager
def opened_folder(folder: Path | str, within: int | None) -> Iterator[int]:
    fd = os.open(folder, FOLDER, dir_fd=within)
    try:
        yield fd
    finally:
        os.close(fd)
