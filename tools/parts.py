"""The real programs that tests need, built ahead: `python tools/parts.py`, or the named ones alone.

What is there already is left as it is, so asking costs nothing. `engines` are those of all makes,
the quickest first. Each says when it begins and ends; a log hears of a long one twice a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support import binaries, debian
from support.binaries import RECIPES, Unavailable, binary, say
from support.debian import SETS, unpacked

FOR_TESTS = [
    *("etcd", "kube-apiserver", "kubectl", "kube-controller-manager"),
    *("versitygw", "s3s-fs", "caddy", "fronts"),
    *("helm", "prometheus", "promtool"),
]
ENGINES = ["fronts", "ceph", "versitygw", "caddy", "minio", "s3s-fs", "garage"]


def main() -> None:
    names = sys.argv[1:] or FOR_TESTS
    names = ENGINES if names == ["engines"] else names
    if unknown := set(names) - RECIPES.keys() - SETS.keys():
        known = ", ".join([*RECIPES, *SETS, "engines"])
        sys.exit(f"No such part: {', '.join(sorted(unknown))}. There are {known}.")
    if lacking := [name for name in names if not there(name)]:
        say(f"{len(lacking)} of {len(names)} are to be made, once: {', '.join(lacking)}")
    if failed := [name for name in lacking if not built(name)]:
        sys.exit(f"The tests that need {', '.join(failed)} will fail, or be skipped: see above.")


def there(name: str) -> bool:
    """Whether the part called `name` is there already."""
    place = binaries.place(name) if name in RECIPES else debian.place(SETS[name])
    return place.exists()


def built(name: str) -> bool:
    """Whether the part called `name` could be made."""
    try:
        binary(name) if name in RECIPES else unpacked(SETS[name])
    except Unavailable as reason:
        say(str(reason))
        return False
    return True


if __name__ == "__main__":
    main()
