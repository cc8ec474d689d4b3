"""Programs that Debian has packed and no pinned Go module gives: container tools with C in them.

They are unpacked beside the system, which stays as it is, and laid over it where they are to run.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.binaries import Unavailable, alone, cache_home, say

PACKAGES = ("buildah", "containerd", "containernetworking-plugins", "debootstrap", "runc")


def unpacked(packages: Sequence[str] = PACKAGES) -> Path:
    """A folder with `packages` and what they need that is not installed; raises Unavailable.

    Its `usr` and `etc` are for laying over the system's. Downloaded once, by apt.
    """
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    folder = cache_home() / f"debian-{key}"
    root = folder / "root"
    with alone(folder):
        if not root.exists():
            shutil.rmtree(folder / "partial", ignore_errors=True)
            _unpack(packages, folder, folder / "partial")
            (folder / "partial").rename(root)
    return root


def _unpack(packages: Sequence[str], folder: Path, root: Path) -> None:
    if shutil.which("apt-get") is None:
        raise Unavailable(f"apt-get is not here, to unpack {', '.join(packages)}: use Debian")
    say(f"unpacking {', '.join(packages)} …")
    for each in ("lists/partial", "archives/partial", "partial/usr", "partial/etc"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    options = {"State::lists": "lists", "Cache": ".", "Cache::archives": "archives"}
    own = [part for key, at in options.items() for part in ("-o", f"Dir::{key}={folder / at}")]
    wanted = ("--yes", "--download-only", "--no-install-recommends", *packages)
    output("apt-get", *own, "-qq", "update")
    output("apt-get", *own, "-qq", "install", *wanted)
    for archive in sorted((folder / "archives").glob("*.deb")):
        output("dpkg", "-x", str(archive), str(root))
    for each in ("bin", "lib", "sbin"):  # on a system of today these are links into usr
        if (root / each).exists():
            shutil.copytree(root / each, root / "usr" / each, symlinks=True, dirs_exist_ok=True)


def output(*command: str) -> str:
    """What `command` prints; raises Unavailable with the end of all that it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = f"{done.stdout}{done.stderr}"[-3000:]
        raise Unavailable(f"{' '.join(command)} failed:\n{said}")
    return done.stdout
