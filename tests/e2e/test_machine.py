"""A machine of its own ends whole, however its keeper ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from support import machine

pytestmark = pytest.mark.e2e

KEEP = """
import sys
from pathlib import Path
from support import machine
told = 'echo "$PANNIER_MACHINE"; exec sleep 600'
machine.run(["sh", "-c", told], Path(sys.argv[1]), network=False)
"""


class Kept(NamedTuple):
    """A machine on which a command sleeps, and the process that keeps it."""

    keeper: "subprocess.Popen[str]"
    name: str

    def end(self, signum: signal.Signals) -> None:
        """Returns once every process on it is dead: the last one closes the pipe."""
        self.keeper.send_signal(signum)
        self.keeper.wait(30)
        assert self.keeper.stdout is not None
        assert self.keeper.stdout.read() == ""

    @property
    def traces(self) -> list[Path]:
        root = Path("/sys/fs/cgroup")
        groups = (*root.glob(self.name), *root.glob(f"*/{self.name}"))  # version 2, version 1
        return [each for each in (machine.folder_of(self.name), *groups) if each.exists()]


@contextmanager
def kept(packages: Path) -> Iterator[Kept]:
    for each in ("usr", "etc"):
        (packages / each).mkdir(exist_ok=True)
    command = [sys.executable, "-c", KEEP, str(packages)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        try:
            yield Kept(keeper, keeper.stdout.readline().strip())
        finally:
            keeper.terminate()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_when_the_keeper_is_told_to_end(
    tmp_path: Path, signum: signal.Signals
) -> None:
    with kept(tmp_path) as one:
        assert len(one.traces) > 1

        one.end(signum)

        assert one.traces == []


def test_what_a_killed_keeper_left_goes_with_the_next(tmp_path: Path) -> None:
    with kept(tmp_path) as first, kept(tmp_path) as neighbour:
        first.end(signal.SIGKILL)
        assert first.traces

        with kept(tmp_path):
            assert first.traces == []
            assert neighbour.traces
