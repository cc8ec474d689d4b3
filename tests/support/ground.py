"""Whether a machine bears a node: tried out with nothing of ours on it, before anything is built.

What it lacks is no fault of what is to be tested: rights, kernel features, control groups.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryFile

from support import machine, node
from support.binaries import Unavailable, alone, cache_home
from support.cluster import NotReady

_LINKS = ("bin", "lib", "lib64")  # into usr, which the container has from the machine
_LIMITS = {"memory": {"limit": 64 << 20}, "pids": {"limit": 16}, "cpu": {"shares": 128}}


def check(packages: Path) -> None:
    """Makes a machine with `packages`, and runs a container on it; raises Unavailable."""
    with TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "support.ground"]
        try:
            status = machine.run(command, packages, network=False, said=said)
        except OSError as error:
            raise Unavailable(f"no machine of its own can be made: {error}") from error
        said.seek(0)
        if status:
            raise Unavailable(f"a machine of its own bears no node: {said.read().strip()}")


def _try_out(folder: Path) -> None:
    node.prepare(folder)
    for place in (folder, cache_home()):
        _lay_images(place)
    _contain(folder)


def _lay_images(place: Path) -> None:
    """Lays folders upon each other, as the images of containers are, on the disk of `place`."""
    with alone(place / "layers"):
        parts = {each: place / "layers" / each for each in ("lowerdir", "upperdir", "workdir")}
        for each in parts.values():
            shutil.rmtree(each, ignore_errors=True)
            each.mkdir()
        layers = ",".join(f"{name}={each}" for name, each in parts.items())
        node.run("mount", "-t", "overlay", "overlay", "-o", layers, str(parts["lowerdir"]))
        node.run("umount", str(parts["lowerdir"]))


def _contain(folder: Path) -> None:
    """Runs `true` in a container within limits, in control groups of the machine's own."""
    bundle = folder / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    for each in _LINKS:
        (bundle / "rootfs" / each).symlink_to(f"usr/{each}")
    node.run("runc", "spec", f"--bundle={bundle}")
    config = json.loads((bundle / "config.json").read_text())
    usr = {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}
    config["process"] |= {"terminal": False, "args": ["true"]}
    config["mounts"].append(usr)
    config["linux"] |= {"cgroupsPath": f"/{folder.name}/container", "resources": _LIMITS}
    (bundle / "config.json").write_text(json.dumps(config))
    node.run("runc", f"--root={folder / 'runc'}", "run", f"--bundle={bundle}", "container")


if __name__ == "__main__":
    try:
        _try_out(machine.folder_of(os.environ[machine.NAME]))
    except (NotReady, OSError) as reason:
        sys.exit(str(reason))
