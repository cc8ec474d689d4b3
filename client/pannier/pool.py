"""Idle connections, the last one used first. What a fork finds here belongs to the parent."""

import os
from collections import deque
from contextlib import suppress
from weakref import WeakSet, finalize

from pannier.http import Connection

# the one way to reach every pool from a forked child; it keeps none of them alive
_pools: "WeakSet[Pool]" = WeakSet()


class Pool:
    """At most `size` idle connections. Without a lock: a forked child might inherit it locked."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"pool_size={size} must not be negative")
        self.closed = False
        self._size = size
        self._idle: deque[Connection] = deque()
        self._pid = os.getpid()
        _pools.add(self)
        finalize(self, _close, self._idle)  # who drops a client has not leaked anything

    def __repr__(self) -> str:
        return f"<Pool {len(self._idle)}/{self._size} idle{', closed' if self.closed else ''}>"

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """A connection that looks alive, or None."""
        if self._pid != os.getpid():
            self.drop()  # forked by a library that runs no Python hooks
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.is_fresh:
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that is open, ours, and one of not too many; else close it."""
        if connection.is_open and connection.pid == os.getpid() and len(self._idle) < self._size:
            self._idle.append(connection)
        else:
            connection.close()
        if self.closed:
            self.drop()

    def close(self) -> None:
        """Drop what is idle, now and from now on."""
        self.closed = True
        self.drop()

    def drop(self) -> None:
        """Close this process's descriptors; a parent's connections stay up."""
        self._pid = os.getpid()
        _close(self._idle)


def _close(idle: deque[Connection]) -> None:
    with suppress(IndexError):
        while True:
            idle.pop().close()


def _drop_inherited() -> None:
    for pool in list(_pools):
        pool.drop()


os.register_at_fork(after_in_child=_drop_inherited)
