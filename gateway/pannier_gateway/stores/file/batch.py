"""What a group of changes makes of the objects it touches. Pure: rows in, rows and verdicts out."""

from typing import Protocol

from msgspec import Struct

from pannier_gateway.conditions import Conditions, check_write
from pannier_gateway.errors import PreconditionFailed, StoreFull
from pannier_gateway.stores.file.row import Row, checked

Verdict = Row | bool | Exception


class Batch:
    """The objects that a group of changes touches: as they were, and as they become."""

    def __init__(self, rows: dict[str, Row], now: int, *, full: bool) -> None:
        self._before = rows
        self._sound = [row for row in rows.values() if row.sound]  # of others no column counts
        self._after: dict[str, Row | None] = dict(rows)
        self._small: dict[int, bytes] = {}
        self._new: dict[int, Row] = {}
        self.now = now
        self.full = full  # the disk has no room for new bodies

    def row(self, path: str) -> Row | None:
        """What is at `path`, expired or not."""
        return self._after.get(path)

    def alive(self, path: str) -> Row | None:
        """Raises Damaged."""
        row = self._after.get(path)
        return None if row is None or checked(row).expired(self.now) else row

    def meets(self, conditions: Conditions, path: str) -> bool:
        """Raises Damaged; but whoever asks for nothing may replace or delete what has rotted."""
        if not conditions.guards_writes:
            return True
        row = self.alive(path)
        return check_write(conditions, None if row is None else row.record.validators)

    def offer(self, row: Row) -> None:
        """Know of a new body, so that its file goes when no object takes it."""
        self._new[row.body] = row

    def place(self, row: Row, data: bytes | None) -> None:
        """Let `row` be the object at its path; a small body comes as `data`."""
        self._after[row.path] = row
        if data is not None:
            self._small[row.body] = data

    def move_expiry(self, row: Row, expires: int) -> None:
        self._after[row.path] = row.until(expires)

    def remove(self, path: str) -> bool:
        """Whether there was anything that had not expired."""
        row = self._after.get(path)
        self._after[path] = None
        return row is not None and not (row.sound and row.expired(self.now))

    @property
    def rows_to_write(self) -> list[Row]:
        return [
            row
            for path, row in self._after.items()
            if row is not None and row is not self._before.get(path)
        ]

    @property
    def rows_to_delete(self) -> list[str]:
        return [path for path, row in self._after.items() if row is None and path in self._before]

    @property
    def bodies_to_write(self) -> list[tuple[int, bytes]]:
        kept = self._kept
        return [(body, data) for body, data in self._small.items() if body in kept]

    @property
    def bodies_to_delete(self) -> list[int]:
        kept = self._kept
        return [row.body for row in self._sound if not row.filed and row.body not in kept]

    @property
    def rows_with_files_to_remove(self) -> list[Row]:
        """Those whose bodies nothing names once the batch is committed."""
        kept = self._kept
        return [r for r in (*self._sound, *self._new.values()) if r.filed and r.body not in kept]

    @property
    def _kept(self) -> set[int]:
        return {row.body for row in self._after.values() if row is not None}


class Change(Protocol):
    """One change to one path, decided when its batch is."""

    @property
    def path(self) -> str: ...

    def apply(self, batch: Batch) -> Verdict: ...


class Put(Struct, frozen=True):
    """Make `row` the object at its path, if the conditions hold."""

    row: Row
    data: bytes | None
    conditions: Conditions

    @property
    def path(self) -> str:
        return self.row.path

    def apply(self, batch: Batch) -> Verdict:
        batch.offer(self.row)
        if batch.full:
            return StoreFull()
        if not batch.meets(self.conditions, self.path):
            return PreconditionFailed()
        batch.place(self.row, self.data)
        return self.row


class Delete(Struct, frozen=True):
    path: str
    conditions: Conditions

    def apply(self, batch: Batch) -> Verdict:
        if not batch.meets(self.conditions, self.path):
            return PreconditionFailed()
        return batch.remove(self.path)


class Touch(Struct, frozen=True):
    """Move the expiry of one version; a version that is gone stays gone."""

    path: str
    etag: str
    expires: int

    def apply(self, batch: Batch) -> Verdict:
        row = batch.alive(self.path)
        if row is None or row.etag != self.etag:
            return False
        batch.move_expiry(row, self.expires)
        return True


class Sweep(Struct, frozen=True):
    """Delete one version if it has expired."""

    path: str
    body: int

    def apply(self, batch: Batch) -> Verdict:
        row = batch.row(self.path)
        if row is None or not row.sound or row.body != self.body or not row.expired(batch.now):
            return False
        batch.remove(self.path)
        return True
