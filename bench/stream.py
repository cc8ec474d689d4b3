"""Large bodies, as cheap for the sender as the kernel allows: it is the server that is measured.

Uploads leave a memory file by sendfile, downloads are dropped inside the kernel (MSG_TRUNC).
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from bench.closed_loop import body_end
from bench.load import Traffic
from bench.process import Server

PIECE = 1 << 20
HEAD = "{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Body:
    """A body to upload: a memory file and its size."""

    descriptor: int
    size: int


@contextmanager
def memory_body(size: int, content: bytes) -> Iterator[Body]:
    """`size` bytes, `content` over and over, in memory."""
    descriptor = os.memfd_create("body")
    try:
        for start in range(0, size, len(content)):
            os.pwrite(descriptor, content[: size - start], start)
        yield Body(descriptor, size)
    finally:
        os.close(descriptor)


def upload(server: Server, paths: list[str], body: Body, connections: int) -> Traffic:
    """PUT `body` to each of `paths`, `connections` at a time."""

    def put(connection: socket.socket, path: str) -> int:
        head = HEAD.format(method="PUT", path=path, length=body.size).encode()
        connection.sendall(head, socket.MSG_MORE)
        sent = 0
        while sent < body.size:
            sent += os.sendfile(connection.fileno(), body.descriptor, sent, body.size - sent)
        _drain(connection, path)
        return body.size

    return _all(server, paths, connections, put)


def download(server: Server, paths: list[str], connections: int) -> Traffic:
    """GET each of `paths`, `connections` at a time."""

    def get(connection: socket.socket, path: str) -> int:
        connection.sendall(HEAD.format(method="GET", path=path, length=0).encode())
        if not (size := _drain(connection, path)):
            raise ConnectionError(f"{path}: the answer did not say how long it is")
        return size

    return _all(server, paths, connections, get)


def _drain(connection: socket.socket, path: str) -> int:
    """Read one answer to its end and return its body's size; raises ConnectionError."""
    answer = b""
    while not (end := body_end(answer)):
        if not (piece := connection.recv(8192)):
            raise ConnectionError(f"{path}: hung up before an answer")
        answer += piece
    if answer[9:10] != b"2":
        raise ConnectionError(f"{path}: {answer[:300]!r}")
    missing = end - len(answer)
    trash = bytearray(PIECE)
    while missing > 0:
        if not (dropped := connection.recv_into(trash, min(missing, PIECE), socket.MSG_TRUNC)):
            raise ConnectionError(f"{path}: {missing} bytes short")
        missing -= dropped
    return end - answer.index(b"\r\n\r\n") - 4


def _all(
    server: Server, paths: list[str], connections: int, one: Callable[[socket.socket, str], int]
) -> Traffic:
    latencies: list[float] = []

    def share(mine: list[str]) -> int:
        size = 0
        with socket.create_connection(server.address) as connection:
            for path in mine:
                since = time.perf_counter()
                size += one(connection, path)
                latencies.append(time.perf_counter() - since)
        return size

    shares = [paths[first::connections] for first in range(connections)]
    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        size = sum(pool.map(share, shares))
    return Traffic.of(latencies, time.perf_counter() - started, size)
