"""The real programs that tests need, built ahead: `python tools/parts.py`, or the named ones alone.

What is there already is left as it is, so asking costs nothing. `engines` are those of all makes,
the quickest first.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support.binaries import RECIPES, Unavailable, binary
from support.debian import SETS, unpacked

FOR_TESTS = [
    *("etcd", "kube-apiserver", "kubectl", "kube-controller-manager"),
    *("versitygw", "s3s-fs", "fronts"),
    *("helm", "prometheus", "promtool"),
]
ENGINES = ["fronts", "ceph", "versitygw", "minio", "s3s-fs", "garage"]


def main() -> None:
    names = sys.argv[1:] or FOR_TESTS
    names = ENGINES if names == ["engines"] else names
    if unknown := set(names) - RECIPES.keys() - SETS.keys():
        there = ", ".join([*RECIPES, *SETS, "engines"])
        sys.exit(f"No such part: {', '.join(sorted(unknown))}. There are {there}.")
    if failed := [name for name in names if not built(name)]:
        sys.exit(f"The tests that need {', '.join(failed)} will fail, or be skipped: see above.")


def built(name: str) -> bool:
    """Whether the part called `name` is there now."""
    try:
        binary(name) if name in RECIPES else unpacked(SETS[name])
    except Unavailable as reason:
        print(f"parts: {reason}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
