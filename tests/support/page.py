"""What docs/kubernetes.md has its readers type, for tests to type it, too."""

import re
import shlex

from support.binaries import ROOT

Words = list[str]

_PAGE = ROOT / "docs" / "kubernetes.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown(heading: str = "Kubernetes", number: int = 1) -> str:
    """The block of commands below `heading` that has this number."""
    _, found, below = _PAGE.read_text().partition(f"# {heading}\n")
    assert found
    return str(_BLOCK.findall(below)[number - 1])


def typed(heading: str = "Kubernetes", number: int = 1) -> list[Words]:
    """The commands in it, each as its words."""
    commands = re.split(r"^\$ ", shown(heading, number), flags=re.MULTILINE)[1:]
    return [shlex.split(each) for each in commands]


def inline(begin: str) -> Words:
    """The command within a paragraph that begins like that."""
    (found,) = re.findall(rf"`({re.escape(begin)}[^`]*)`", _PAGE.read_text())
    return shlex.split(found)
