"""A machine inside of this one: a command with processes, mounts and perhaps a network of its own.

The kernel takes all of that away when the command ends, however it ends. What it does not, a
folder and control groups, is removed here, also what was left by one that was killed with SIGKILL.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from support.binaries import alone, cache_home

NAME = "PANNIER_MACHINE"  # the variable that tells the command the name of its machine
_PREFIX = "pannier-machine-"
_LOCK = "kept"
_CGROUPS = Path("/sys/fs/cgroup")
_DYING_SECONDS = 20
_ALONE = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
_WITH_PACKAGES = """
for each in usr etc; do mount -t overlay overlay -o "ro,lowerdir=$0/$each:/$each" "/$each"; done
exec "$@"
"""


def run(
    command: Sequence[str], packages: Path, *, network: bool, said: IO[str] | None = None
) -> int:
    """The exit status of `command`, with `packages` laid over /usr and /etc.

    With `network` it has this machine's; else one of its own, in which nothing is up. Its errors
    go to the file `said`, or to where ours go. Raises OSError where no machine can be made.
    """
    own = _ALONE if network else (*_ALONE, "--net")
    with _named() as name:
        whole = [*own, "sh", "-ec", _WITH_PACKAGES, str(packages), *command]
        with subprocess.Popen(whole, env=os.environ | {NAME: name}, stderr=said) as process:
            try:
                return process.wait()
            finally:
                process.kill()  # and with it everything on the machine


def folder_of(name: str) -> Path:
    """For the files of a machine. Its path is short, since those of sockets have to be."""
    return Path(tempfile.gettempdir()) / name


@contextmanager
def _named() -> Iterator[str]:
    """A name for a machine, whose folder and control groups end with the block."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _frame: sys.exit(128 + number))
    with ExitStack() as kept:
        with alone(cache_home() / "machines"):
            for each in _names():
                if not _is_kept(each):
                    _remove(each)
            name = Path(tempfile.mkdtemp(prefix=_PREFIX)).name
            lock = kept.enter_context((folder_of(name) / _LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept.callback(_remove, name)
        for hierarchy in _hierarchies():
            (hierarchy / name).mkdir()
        yield name


def _names() -> set[str]:
    """Of all machines that have left anything yet."""
    places = (folder_of("x").parent, *_hierarchies())
    return {each.name for place in places for each in place.glob(f"{_PREFIX}*")}


def _is_kept(name: str) -> bool:
    """Whether somebody waits for this machine: the lock is given back even by those killed."""
    try:
        with (folder_of(name) / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _remove(name: str) -> None:
    for hierarchy in _hierarchies():
        for each, _, _ in os.walk(hierarchy / name, topdown=False):
            _remove_group(Path(each))
    shutil.rmtree(folder_of(name), ignore_errors=True)


def _remove_group(group: Path) -> None:
    """Removes a control group once the last process in it is dead."""
    deadline = time.monotonic() + _DYING_SECONDS
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _hierarchies() -> set[Path]:
    """Where control groups are: one place, or with the first version one for each controller."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return {_CGROUPS}
    return {each.resolve() for each in _CGROUPS.iterdir() if (each / "cgroup.procs").exists()}
