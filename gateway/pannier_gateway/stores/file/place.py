"""Whether the files that a running store has open are those that the next start will find.

Whoever deletes or restores a directory under a running process leaves it with files that nobody
will see again: what it would write there is lost, and what it reads may be old.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from time import time

from pannier_gateway.errors import StoreUnavailable

log = logging.getLogger("pannier.store")

REST_SECONDS = 2.0  # without a change: then nobody is just copying it there


class Place:
    """Where a store's files are. `lost`: another file, or none, was there at the last look."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.lost = False
        self._turning = Lock()
        self._files = {str(path): identity(str(path)) for path in paths}

    def __repr__(self) -> str:
        return f"<Place {'lost' if self.lost else 'kept'}>"

    def look(self) -> bool:
        """Look again; whether the files are those from before."""
        missing = [path for path, known in self._files.items() if identity(path) != known]
        with self._turning:  # whoever looks at the same time tells nothing twice
            if missing and not self.lost:
                fields = {"files": missing}
                log.error("files replaced or removed under a running store", extra=fields)
            elif self.lost and not missing:
                log.info("files back in their place", extra={"files": list(self._files)})
            self.lost = bool(missing)
        return not missing

    def demand(self) -> None:
        """Raises StoreUnavailable when a new look finds the files replaced or removed."""
        if not self.look():
            raise gone()


def gone() -> StoreUnavailable:
    return StoreUnavailable(
        "the store's files were replaced or removed while it was in use: "
        "put them back or restart the gateway"
    )


def at_rest(path: Path) -> bool:
    """Whether there is something that nobody has touched for a while."""
    try:
        return time() - path.stat().st_ctime >= REST_SECONDS
    except OSError:
        return False


def identity(path: str) -> tuple[int, int] | None:
    """What tells a file from any other that exists meanwhile; None where it can't be seen."""
    try:
        found = os.stat(path)  # noqa: PTH116  every commit asks, and a Path takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino
