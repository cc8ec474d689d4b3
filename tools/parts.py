"""The real programs that tests need, built ahead: `python tools/parts.py`, or the named ones alone.

What is there already is left as it is, so asking costs nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support.binaries import RECIPES, Unavailable, binary

FOR_TESTS = [
    *("etcd", "kube-apiserver", "kubectl", "kube-controller-manager"),
    *("versitygw", "s3s-fs"),
    *("helm", "prometheus", "promtool"),
]


def main() -> None:
    names = sys.argv[1:] or FOR_TESTS
    if unknown := set(names) - RECIPES.keys():
        sys.exit(f"No such part: {', '.join(sorted(unknown))}. There are {', '.join(RECIPES)}.")
    if failed := [name for name in names if not built(name)]:
        sys.exit(f"The tests that need {', '.join(failed)} will fail: see above.")


def built(name: str) -> bool:
    """Whether the part called `name` is there now."""
    try:
        binary(name)
    except Unavailable as reason:
        print(f"parts: {reason}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
