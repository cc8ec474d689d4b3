"""kill -9 in the middle of writes, thousands of times: does the file store keep its promises?

The engine is that of the tests (`tests/support/storm.py`); here it runs for minutes. Nothing is
measured but whether anything was lost, half-written or left behind: the first that is ends it.
"""

import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.settings import Settings

TESTS = Path(__file__).parents[1] / "tests"
ROUNDS, QUICK_ROUNDS = 2500, 300


def main(settings: Settings) -> None:
    rounds = QUICK_ROUNDS if settings.quick else ROUNDS
    seed = random.getrandbits(32)
    settings.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.scratch) as home:
        command = [sys.executable, "-m", "support.storm", f"{home}/store", str(seed), str(rounds)]
        ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(TESTS)}, check=False)
    if ended.returncode:
        print(f"BROKEN (seed {seed})")


if __name__ == "__main__":
    main(Settings.parse())
