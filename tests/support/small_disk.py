"""A file system so small that it fills up: a tmpfs that only one process and its children see."""

import shlex
import subprocess
import sys
from pathlib import Path

NAMESPACES = ("--mount --user --map-root-user", "--mount")  # as anybody, or as root
MOUNT_AND_RUN = 'mount -t tmpfs -o size="$0" small "$1" && shift && exec "$@"'


class NoSmallDisk(Exception):
    """This machine lets us have none; the text says why."""


def python_on(folder: Path, size: str) -> Path:
    """A Python that finds an empty disk of `size` at `folder`. Raises NoSmallDisk."""
    folder.mkdir()
    python = folder.with_name(f"{folder.name}-python")
    complaints = []
    for namespaces in NAMESPACES:
        inner = shlex.join(["sh", "-c", MOUNT_AND_RUN, size, str(folder), sys.executable])
        python.write_text(f'#!/bin/sh\nexec unshare {namespaces} {inner} "$@"\n')
        python.chmod(0o755)
        tried = subprocess.run([python, "-c", ""], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return python
        complaints.append(tried.stderr.strip())
    raise NoSmallDisk("; ".join(complaints))
