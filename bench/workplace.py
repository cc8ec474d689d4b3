"""Where a program works: a directory on the disk to be measured, and the senders' core."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.settings import Settings


@contextmanager
def workplace(settings: Settings) -> Iterator[Path]:
    """A directory, deleted afterwards. Whatever this process starts stays on `load_cpu`."""
    settings.scratch.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {settings.load_cpu})
    with TemporaryDirectory(dir=settings.scratch) as folder:
        yield Path(folder)
