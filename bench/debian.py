"""Programs to compare with: from PATH, else unpacked from Debian's archive, without root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.binaries import Unavailable
from support.debian import FRONTS, environment, unpacked

PACKAGES: Mapping[str, Sequence[str]] = {"haproxy": FRONTS, "nginx": FRONTS, "wrk": ["wrk"]}
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


class Missing(Exception):
    """A program is neither installed nor to be had. The message says what to install."""


@dataclass(frozen=True, slots=True)
class Program:
    """An executable, and the environment in which it finds its libraries."""

    path: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def output(self, *arguments: str) -> str:
        """What it prints, both streams together."""
        return subprocess.run(
            [self.path, *arguments],
            env={**os.environ, "LC_ALL": "C", **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        ).stdout


def program(name: str) -> Program:
    """The program called `name`, of those in PACKAGES; raises Missing."""
    if installed := shutil.which(name, path=SEARCH):
        return Program(installed)
    packages = PACKAGES[name]
    try:
        around = environment(unpacked(packages))
    except Unavailable as reason:
        wanted = f"install it (Debian: apt-get install {' '.join(packages)})"
        raise Missing(f"{name} is not here: {wanted}") from reason
    path = shutil.which(name, path=around["PATH"])
    assert path is not None, f"{name} is in none of {', '.join(packages)}"
    return Program(path, around)
