"""How long to measure, and where: the command line of every program."""

import os
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 16
KIB = 1 << 10
MIB = 1 << 20


def cache_home() -> Path:
    """Where files may stay between runs, outside the tree."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pannier"


@dataclass(frozen=True, slots=True)
class Settings:
    """One run's lengths. Servers live on `server_cpu`, whoever loads them on `load_cpu`."""

    programs: tuple[str, ...]
    quick: bool
    seconds: float
    rounds: int
    usecases: int
    scratch: Path
    server_cpu: int
    load_cpu: int

    @classmethod
    def parse(
        cls, arguments: Sequence[str] | None = None, programs: Sequence[str] = ()
    ) -> "Settings":
        """Settings from command line arguments (`sys.argv` when None). Help names `programs`."""
        given = _parser(programs).parse_args(arguments)
        cpus = sorted(os.sched_getaffinity(0))
        return cls(
            programs=tuple(given.programs),
            quick=given.quick,
            seconds=given.seconds,
            rounds=(3 if given.quick else 7) if given.rounds is None else given.rounds,
            usecases=given.usecases or (1_000 if given.quick else 10_000),
            scratch=given.scratch,
            server_cpu=cpus[-1],
            load_cpu=cpus[0],
        )


def _parser(programs: Sequence[str]) -> ArgumentParser:
    named = f"programs: {', '.join(programs)}" if programs else None
    parser = ArgumentParser(prog="python -m bench", epilog=named)
    parser.add_argument("programs", nargs="*", help="what to measure; everything when absent")
    parser.add_argument("--quick", action="store_true", help="a minute or two, rougher figures")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (1)")
    parser.add_argument(
        "--rounds", type=int, help="how often each server gets its turn (7, quick: 3)"
    )
    parser.add_argument(
        "--usecases", type=int, help="how many the operator is given (10,000, quick: 1,000)"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        default=cache_home() / "bench",
        help="a directory on the disk to measure; what is written there is deleted again",
    )
    return parser
