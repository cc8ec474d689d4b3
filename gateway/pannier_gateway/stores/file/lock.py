"""One process at a time on a directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pannier_gateway.errors import StoreUnavailable


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the directory (made where it is missing) until the block ends.

    The kernel gives the lock back when the process dies, however it dies. Raises StoreUnavailable
    when another process has it, OSError when the directory can't be written to.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StoreUnavailable(
                f"{root} is in use by another process (pid {holder}): "
                "stop it, or give this one a directory of its own"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
