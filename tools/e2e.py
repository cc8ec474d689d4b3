"""The tests on a real node, with all that they need built first: `python tools/e2e.py`.

Arguments are pytest's. Nothing stays behind but what ~/.cache/pannier keeps. Ends with 77, and says
why, where this machine cannot bear a node for reasons that are not the project's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support import ground, images, machine
from support.binaries import ROOT, Unavailable, binary
from support.debian import unpacked

CANNOT = 77  # no status of pytest's
TESTS = ROOT / "tests"
PARTS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"),
    *("helm", "prometheus", "versitygw"),
)
BUILD = (sys.executable, "-m", "support.images")


def main() -> None:
    os.environ["PYTHONPATH"] = str(TESTS)
    os.environ[images.ARCHIVE] = str(archive := images.archive())
    try:
        packages = prepared()
        if not archive.exists():
            have_base(packages)
    except Unavailable as reason:
        print(f"e2e: cannot run here: {reason}", file=sys.stderr)
        sys.exit(CANNOT)
    if not archive.exists() and machine.run([*BUILD, str(archive)], packages, network=True):
        sys.exit("e2e: the images could not be built (see above)")
    tests = [sys.executable, "-m", "pytest", "-m", "e2e", str(TESTS / "e2e"), *sys.argv[1:]]
    sys.exit(machine.run(tests, packages, network=False))


def prepared() -> Path:
    """The folder of packages to run with, once they bear a node and the programs are there."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unavailable("a Kubernetes node needs Linux and root")
    packages = unpacked()
    ground.check(packages)
    for part in PARTS:
        binary(part)
    return packages


def have_base(packages: Path) -> None:
    if machine.run(BUILD, packages, network=True):
        raise Unavailable("the base of the images could not be made (see above)")


if __name__ == "__main__":
    main()
