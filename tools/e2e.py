"""The tests on a real node, with all that they need built first: `python tools/e2e.py`.

Arguments are pytest's. Nothing stays behind but what ~/.cache/pannier keeps.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support import images, machine
from support.binaries import ROOT, Unavailable, binary
from support.debian import unpacked

TESTS = ROOT / "tests"
PARTS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"),
    *("helm", "prometheus", "versitygw"),
)


def main() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit("make e2e runs a Kubernetes node, which needs Linux and root: nothing was tested.")
    os.environ["PYTHONPATH"] = str(TESTS)
    os.environ[images.ARCHIVE] = str(archive := images.archive())
    try:
        packages = prepared(archive)
    except Unavailable as reason:
        sys.exit(f"make e2e cannot run: {reason}")
    tests = [sys.executable, "-m", "pytest", "-m", "e2e", str(TESTS / "e2e"), *sys.argv[1:]]
    sys.exit(machine.run(tests, packages, network=False))


def prepared(archive: Path) -> Path:
    """The folder of packages to run with, once programs and images are there."""
    for part in PARTS:
        binary(part)
    packages = unpacked()
    if not archive.exists():
        build = [sys.executable, "-m", "support.images", str(archive)]
        if machine.run(build, packages, network=True):
            raise Unavailable("the images could not be built (see above)")
    return packages


if __name__ == "__main__":
    main()
