"""What the chart has from the code: the admission objects, made by the injector's own modules.

`python tools/chart_files.py` writes them anew, with places that the chart fills, and the table of
values in docs/kubernetes.md. A test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from pannier_operator.injector import manifests, policy
from pannier_operator.injector.manifests import Manifest, Place
from pannier_operator.injector.options import OPTIONS
from pannier_operator.injector.sidecar import Sidecar

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "pannier"
PAGE = ROOT / "docs" / "kubernetes.md"
TABLE = re.compile(r"(<!-- values[^\n]*\n).*?(<!-- end of values -->)", re.DOTALL)
HEAD = "| Value | Default | Meaning |\n|---|---|---|\n"

PLACE = Place(
    namespace="@namespace@",
    client={
        "service": {"name": "@service@", "namespace": "@namespace@", "path": manifests.PATH},
    },
)
SIDECAR = Sidecar(
    image="@image@",
    pull_policy="@pull-policy@",
    version="@version@",
    defaults={each.name: f"@{each.name}@" for each in OPTIONS},
    cpu_limit=True,  # which the chart takes out again
)


def main() -> None:
    for name, text in files().items():
        (CHART / "files" / name).write_text(text)
    PAGE.write_text(filled(PAGE.read_text()))


def files() -> dict[str, str]:
    """The files of the chart, by name."""
    return {
        "webhook.yaml": listed([manifests.webhook_configuration(PLACE, "@failure-policy@")]),
        "guard.yaml": listed(manifests.guard()),
        "policy.yaml": listed(policy.manifests(SIDECAR, PLACE)),
    }


def listed(found: Sequence[Manifest]) -> str:
    text = yaml.dump([*found], Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
    return f"# Made by tools/chart_files.py; templates/injector/admission.yaml fills it.\n{text}"


class _Dumper(yaml.SafeDumper):
    """Repeats what occurs twice: an anchor would be one more thing to understand."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class Value(NamedTuple):
    """One value, by its path; its default as it is typed."""

    path: str
    default: str
    meaning: str


def filled(page: str) -> str:
    """The page with the table as values.yaml has it."""
    rows = "".join(
        f"| `{each.path}` | {f'`{each.default}`' if each.default else ''} | {each.meaning} |\n"
        for each in values((CHART / "values.yaml").read_text())
    )
    return TABLE.sub(lambda found: f"{found[1]}\n{HEAD}{rows}\n{found[2]}", page)


def values(text: str) -> Iterator[Value]:
    """Every value that has a comment above it. What it holds, if anything, is its default."""
    path: list[str] = []
    meaning = ""
    for line in text.splitlines():
        if (key := re.fullmatch(r"( *)([A-Za-z]+):(.*)", line)) is None:
            meaning = line.strip().removeprefix("# ") if line.lstrip().startswith("#") else ""
            continue
        path[len(key[1]) // 2 :] = [key[2]]
        if meaning:
            yield Value(".".join(path), key[3].strip(), meaning)
        meaning = ""


if __name__ == "__main__":
    main()
