"""Programs that Debian has packed and no pinned Go module gives: those with C in them.

They are unpacked beside the system, which stays as it is, and laid over it where they are to run.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.absent import do_without
from support.binaries import Unavailable, alone, cache_home, say

PACKAGES = (
    *("buildah", "containerd", "containernetworking-plugins"),
    *("debootstrap", "iproute2", "runc"),
)
CEPH = ("radosgw", "ceph-mon", "ceph-osd")
FRONTS = ("haproxy", "nginx-light")
SETS: Mapping[str, Sequence[str]] = {"ceph": CEPH, "fronts": FRONTS}
"""What tests may ask for; of each release of Debian there is one version, whatever a pin says."""


def unpacked(packages: Sequence[str] = PACKAGES) -> Path:
    """A folder with `packages` and what they need that is not installed; raises Unavailable.

    Its `usr` and `etc` are for laying over the system's. Downloaded once, by apt.
    """
    root = place(packages)
    folder = root.parent
    with alone(folder):
        if not root.exists():
            shutil.rmtree(folder / "partial", ignore_errors=True)
            _unpack(packages, folder, folder / "partial")
            (folder / "partial").rename(root)
            say(f"unpacked {', '.join(packages)}")
    return root


def place(packages: Sequence[str]) -> Path:
    """Where `packages` are, once they were unpacked."""
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    return cache_home() / f"debian-{key}" / "root"


def unpacked_or_skipped(packages: Sequence[str]) -> Path:
    """As `unpacked`; the test that asks is skipped where there is no apt."""
    if shutil.which("apt-get") is None:
        do_without(f"needs {', '.join(packages)}, unpacked by apt-get: use Debian")
    return unpacked(packages)


def environment(root: Path) -> dict[str, str]:
    """In which programs that are unpacked at `root` find each other, and their libraries."""
    folders = sorted({str(each.parent) for each in root.glob("usr/lib/**/*.so*")})
    path = os.pathsep.join([str(root / "usr/bin"), str(root / "usr/sbin"), os.environ["PATH"]])
    return {"PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(folders)}


def _unpack(packages: Sequence[str], folder: Path, root: Path) -> None:
    if shutil.which("apt-get") is None:
        raise Unavailable(f"apt-get is not here, to unpack {', '.join(packages)}: use Debian")
    say(f"unpacking {', '.join(packages)} …")
    for each in ("lists/partial", "archives/partial", "partial/usr", "partial/etc"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    options = {"State::lists": "lists", "Cache": ".", "Cache::archives": "archives"}
    own = [part for key, at in options.items() for part in ("-o", f"Dir::{key}={folder / at}")]
    own += ["-o", "Debug::NoLocking=true"]  # the locks are root's, and guard what is not touched
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
