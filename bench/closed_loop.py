"""Connections that each send their next request when the last one is answered, in plain Python.

For what wrk cannot do: an exact number of requests. And instead of wrk where there is none.
"""

import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.load import Traffic, Workload
from bench.process import Server

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def send_for(server: Server, workload: Workload, *, connections: int, seconds: float) -> Traffic:
    """A Sender: keeps `connections` busy for `seconds`."""
    deadline = time.perf_counter() + seconds
    return _Loop(server, workload, lambda _: time.perf_counter() < deadline).run(connections)


def send_count(server: Server, workload: Workload, *, connections: int, count: int) -> Traffic:
    """Send exactly the requests 0 to `count` - 1; raises ConnectionError if one fails."""
    loop = _Loop(server, workload, lambda sent: sent < count)
    traffic = loop.run(min(connections, count))
    if traffic.failures:
        raise ConnectionError(f"{server.name} refused {traffic.failures} of {count} requests")
    return traffic


@dataclass(slots=True)
class _Loop:
    server: Server
    workload: Workload
    more: Callable[[int], bool]
    sent: int = 0
    size: int = 0
    failures: int = 0
    latencies: list[float] = field(default_factory=list)

    def run(self, connections: int) -> Traffic:
        started = time.perf_counter()
        sockets = [socket.create_connection(self.server.address) for _ in range(connections)]
        try:
            self._exchange(sockets)
        finally:
            for each in sockets:
                each.close()
        return Traffic.of(self.latencies, time.perf_counter() - started, self.size, self.failures)

    def _exchange(self, sockets: list[socket.socket]) -> None:
        bodies = self.workload.bodies.read_bytes()
        poll = select.epoll()
        by_number = {each.fileno(): each for each in sockets}
        since = dict.fromkeys(by_number, 0.0)
        for number, each in by_number.items():
            poll.register(number, select.EPOLLIN)
            since[number] = self._send(each, bodies)
        waiting = len(sockets)
        while waiting:
            for number, _ in poll.poll():
                self._receive(by_number[number], since[number])
                if self.more(self.sent):
                    since[number] = self._send(by_number[number], bodies)
                else:
                    waiting -= 1

    def _send(self, each: socket.socket, bodies: bytes) -> float:
        request = self.workload.request(self.server, self.sent, bodies)
        self.sent += 1
        started = time.perf_counter()
        each.sendall(request)
        return started

    def _receive(self, each: socket.socket, since: float) -> None:
        answer = b""
        while not (end := body_end(answer)) or len(answer) < end:
            if not (piece := each.recv(1 << 18)):
                raise ConnectionError(f"{self.server.name} hung up in an answer: {answer[:200]!r}")
            answer += piece
        self.latencies.append(time.perf_counter() - since)
        self.size += len(answer)
        self.failures += answer[9:10] != b"2"


def body_end(answer: bytes) -> int:
    """Where the body of an HTTP/1.1 answer ends, 0 while its head is not complete."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return 0
    length = LENGTH.search(answer, 0, head + 2)
    return head + 4 + (int(length[1]) if length else 0)
