"""docs/injection.md says what the code does: all of it, and nothing else."""

import argparse
import re
from pathlib import Path

from pannier_operator.injector import manifests, patch, policy, sidecar
from pannier_operator.injector.manifests import SYSTEM, Place
from pannier_operator.injector.metrics import RESULTS, Metrics
from pannier_operator.injector.options import INJECT, INJECTED, OPTIONS
from pannier_operator.injector.settings import add_options
from pannier_operator.injector.sidecar import DEFAULTS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "injection.md").read_text()


def rows(first: str, page: str = PAGE) -> list[list[str]]:
    """The rows of tables whose first cell matches, without the backticks."""
    lines = (line for line in page.splitlines() if line.startswith("|"))
    cells = ([cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines)
    return [row for row in cells if re.fullmatch(first, row[0])]


def test_every_annotation_is_documented_with_its_default_and_what_is_allowed() -> None:
    documented = [row for row in rows(r"pannier\.dev/.*") if len(row) == 4]

    wanted = [[o.annotation, DEFAULTS[o.name], o.allowed, o.meaning] for o in OPTIONS]
    assert documented == wanted


def test_every_label_is_documented() -> None:
    assert {row[0] for row in rows(r"pannier\.dev/.*") if len(row) == 3} == {INJECT, INJECTED}


def test_every_setting_is_documented_with_its_default() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    flags = [each for each in parser._actions if each.dest != "help"]

    documented = {row[0]: row[1] for row in rows(r"--[a-z][a-z-]*")}
    assert documented == {each.option_strings[0]: told(each.default) for each in flags}


def told(default: object) -> str:
    match default:
        case None | []:
            return "none"
        case tuple():
            return ":".join(map(str, default))
    return str(default)


def test_every_metric_is_documented_with_its_results() -> None:
    families = [f for f in Metrics().registry.collect() if f.name.startswith("pannier_")]
    exposed = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}

    page = (DOCS / "metrics.md").read_text()
    documented = {row[0]: row[2] for row in rows(r"pannier_injector_.*", page)}
    assert set(documented) == exposed
    assert all(each in documented["pannier_injector_reviews_total"] for each in RESULTS)


def test_names_and_places_that_are_told_are_those_of_the_code() -> None:
    told_of = (
        *(*SYSTEM, *patch.MESHES, *patch.RESERVED, sidecar.GATEWAY, sidecar.CONFIG_MAP),
        *(
            sidecar.CONFIG_DIR,
            sidecar.SECRETS_DIR,
            f"{sidecar.MOUNTED_DIR}/config-maps",
            sidecar.CLAIMS_DIR,
        ),
        *(sidecar.SOCKET_PATH, *(name for name, _ in sidecar.environment())),
    )

    assert [each for each in told_of if f"`{each}" not in PAGE] == []


def test_the_manifests_say_what_was_decided() -> None:
    place = Place(namespace="pannier-system", client={})
    found = str(manifests.webhook_configuration(place))

    for wanted in (
        "'failurePolicy': 'Fail'",
        "'timeoutSeconds': 5",
        "'reinvocationPolicy': 'IfNeeded'",
        "'sideEffects': 'None'",
    ):
        assert found.count(wanted) == 2
    assert "caBundle" not in found
    given = sidecar.Sidecar(image="{{ .Values.image }}", version="1", defaults=DEFAULTS)
    assert '"{{ .Values.image }}"' in str(policy.manifests(given, place))
