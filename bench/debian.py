"""Programs to compare with: from PATH, else unpacked from Debian's archive, without root."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.settings import cache_home

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
        return _output([self.path, *arguments], self.environment)


def program(name: str, packages: Sequence[str]) -> Program:
    """The program called `name`, which one of `packages` holds; raises Missing."""
    if installed := shutil.which(name, path=SEARCH):
        return Program(installed)
    root = cache_home() / "debian"
    unpacked = _unpacked(name, root)
    for package in packages:
        if unpacked is None and shutil.which("apt-get") and shutil.which("dpkg"):
            _unpack(package, root)
            unpacked = _unpacked(name, root)
    if unpacked is None:
        raise Missing(f"{name} is not here: install it (Debian: apt-get install {packages[0]})")
    return unpacked


def _unpacked(name: str, root: Path) -> Program | None:
    for folder in ("usr/sbin", "usr/bin"):
        if (path := root / folder / name).exists():
            libraries = sorted({str(lib.parent) for lib in root.glob("usr/lib/**/*.so.*")})
            return Program(str(path), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)})
    return None


def _unpack(package: str, root: Path) -> None:
    """Put `package`, and those of its libraries that are not installed, under `root`."""
    archives = root / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    lists: list[str] = []
    if not _download([package], archives, lists):
        lists = _own_lists(root)
        _download([package], archives, lists)
    if libraries := _missing_libraries(package, lists):
        _download(libraries, archives, lists)
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, root], check=True)


def _download(packages: Sequence[str], into: Path, options: Sequence[str]) -> bool:
    command = ["apt-get", *options, "download", *packages]
    return subprocess.run(command, cwd=into, capture_output=True, check=False).returncode == 0


def _own_lists(root: Path) -> list[str]:
    """Package lists that need no root: the options under which apt uses them."""
    (root / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    options = {"Dir::State::lists": root / "lists", "Dir::Cache": root, "Debug::NoLocking": "1"}
    flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    subprocess.run(["apt-get", *flags, "update"], capture_output=True, check=False)
    return flags


def _missing_libraries(package: str, options: Sequence[str]) -> list[str]:
    listing = _output(["apt-cache", *options, "depends", "--important", "--recurse", package])
    return [name for name in library_names(listing) if not _installed(name)]


def library_names(listing: str) -> list[str]:
    """The libraries among what `apt-cache depends` lists; of alternatives ("|") the first."""
    names: list[str] = []
    alternative_taken = False
    for bar, name in re.findall(r"^ ([ |])Depends: (\S+)$", listing, re.MULTILINE):
        if not alternative_taken and re.match(r"lib|zlib", name):
            names.append(name)
        alternative_taken = bar == "|"
    return names


def _installed(package: str) -> bool:
    return "install ok installed" in _output(["dpkg-query", "-W", "-f", "${Status}", package])


def _output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout
