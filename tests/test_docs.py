"""Documentation that cannot lie: what it states is compared with the code, what it shows is run."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import pannier
from pannier_gateway import admin
from pannier_gateway.config import crds, resources
from pannier_gateway.config.problems import ManifestErrors
from pannier_gateway.config.render import render
from pannier_gateway.drain import Drain
from pannier_gateway.errors import PannierError
from pannier_gateway.metrics import Metrics
from pannier_gateway.settings import (
    SOURCES,
    build_lifecycle_parser,
    build_parser,
    from_environment,
    parse_lifecycle,
)
from support.gateway import Gateway, running_gateway
from support.programs import loaded
from support.wire import Wire

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
URLS = {"data": "http://127.0.0.1:8650", "admin": "http://127.0.0.1:8651"}  # as documented
VOLATILE = {  # differs from run to run, and nobody reads a page for it
    "etag": r"\b[0-9a-f]+-[0-9a-f]{16}\b",
    "moment": r"\b\d{4}-\d\d-\d\dT[0-9:.]+Z",
    "date": r"\b\w{3}, \d\d \w{3} \d{4} [0-9:]{8} GMT",
}
WITH_BROKEN_FIELDS = b"""\
apiVersion: pannier.dev/v1alpha1
kind: Usecase
metadata: {name: thumbnails}
spec:
  bucketRef: {name: main}
  defaults: {compresion: Zstd, expiration: {policy: TimeToLive}}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("docs") / "data") as running:
        yield running


def named(page: Path) -> str:
    return page.name


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


def rows(text: str, first: str) -> list[list[str]]:
    """The rows of tables whose first cell matches: their cells, without the backticks around."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    cells = ([cell.strip(" `") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    return [row for row in cells if re.fullmatch(first, row[0])]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


def in_order(wanted: list[str], lines: list[str]) -> bool:
    """Whether all that is wanted is among the lines, in this order."""
    rest = iter(lines)
    return all(line in rest for line in wanted)


# The gateway


def test_settings_are_documented_by_flag_variable_and_default() -> None:
    parser = build_parser()
    actions = [each for each in parser._actions if each.nargs != 0]

    documented: dict[str, object] = {}
    for flag, variable, default, _ in rows(text_of("gateway.md"), r"--[a-z].*"):
        given = from_environment(parser, {variable: "x:1" if default == "none" else default})
        documented[flag] = None if default == "none" else next(iter(given.values()))

    assert documented == {action.option_strings[0]: action.default for action in actions}


def test_every_choice_of_a_setting_is_documented() -> None:
    meanings = {row[0]: row[3] for row in rows(text_of("gateway.md"), r"--[a-z].*")}

    for action in build_parser()._actions:
        for choice in action.choices or ():
            assert re.search(rf"\b{choice}\b", meanings[action.option_strings[0]])


def test_the_arguments_of_the_lifecycle_command_are_documented() -> None:
    options = [each for each in build_lifecycle_parser()._actions if each.dest != "help"]
    (action,) = (each for each in options if not each.option_strings)
    names = {*(action.choices or ()), *(name for each in options for name in each.option_strings)}

    table = rows(text_of("gateway.md"), "lifecycle .*")
    documented = {row[0].removeprefix("lifecycle "): row[1] for row in table}

    assert documented.keys() == names
    for name, variable in ((name, text) for name, text in documented.items() if text):
        source = {} if name in SOURCES else {"PANNIER_MANIFESTS": "m"}
        given = parse_lifecycle(["plan"], {**source, variable: "here"})
        assert Path("here") in msgspec.structs.astuple(given)


def test_the_admin_pages_are_documented() -> None:
    documented = {row[0] for row in rows(text_of("gateway.md"), r"/.*")}

    assert documented == {"/", *admin.PAGES}


def test_metrics_are_documented_all_and_no_others() -> None:
    families = Metrics(Drain()).registry.collect()
    exposed = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}

    text = "".join(map(text_of, ("gateway.md", "resilience.md", "backing-stores.md", "tls.md")))
    documented = {row[0] for row in rows(text, r"pannier_.*")}
    documented |= set(re.findall(r"`((?:process|python)_\w+)`", text))

    assert documented == exposed


def test_metrics_carry_the_labels_that_are_documented(gateway: Gateway) -> None:
    with Wire(gateway.url) as wire:
        text = {"content-type": "text/plain", "x-sn-expiration": "ttl:0s"}
        wire.ask("PUT", "/v1/objects/attachments/labels=1/k", text, b"word " * 1000)
        wire.ask("GET", "/v1/objects/attachments/labels=1/k")

    families = text_string_to_metric_families(gateway.metrics)
    samples = {sample.name: sample for family in families for sample in family.samples}

    for name, labels, *_ in rows(text_of("gateway.md"), r"pannier_.*"):
        sample = samples.get(name) or samples[f"{name}_count"]
        assert set(sample.labels) == set(filter(None, labels.split(", "))), name


def test_a_request_is_logged_with_the_fields_that_are_shown(gateway: Gateway) -> None:
    (shown,) = blocks(ROOT / "docs" / "gateway.md", "json")
    with Wire(gateway.url) as wire:
        wire.ask("PUT", "/v1/objects/sessions/_/k", {"x-sn-expiration": "manual"}, b"")
        wire.ask("GET", "/health")  # on the same connection: the line before is written by now

    logged = [json.loads(line) for line in gateway.log.read_text().splitlines()]

    assert [*json.loads(shown)] in [[*line] for line in logged]
    assert json.loads(shown)["event"] in [line["event"] for line in logged]


def test_events_of_the_log_that_are_documented_exist() -> None:
    sources = (ROOT / "gateway" / "pannier_gateway").rglob("*.py")
    logged = re.findall(r'log\.\w+\(\s*"([a-z ]+)', "".join(file.read_text() for file in sources))

    _, _, section = text_of("gateway.md").partition("## The log")
    documented = re.findall(r"`([a-z]+(?: [a-z]+)+)`", section)

    assert documented
    assert set(documented) <= set(logged)


# HTTP and the client


def test_every_status_of_a_refusal_is_documented_and_no_other() -> None:
    documented = {int(row[0]) for row in rows(text_of("http.md"), r"\d{3}")}

    assert {status for status in documented if status >= 400} == {
        error.status for error in with_subclasses(PannierError)
    }


def with_subclasses(kind: type[PannierError]) -> Iterator[type[PannierError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from with_subclasses(each)


@pytest.mark.parametrize("name", pannier.__all__)
def test_every_public_name_of_the_client_is_documented(name: str) -> None:
    assert re.search(rf"(?<![\w-]){name}(?![\w-])", text_of("client.md"))


def test_the_methods_of_a_session_are_documented_with_their_arguments() -> None:
    documented = {}
    for row in rows(text_of("client.md"), r"\w+\(.*\)"):
        (function,) = ast.parse(f"def {row[0]}: ...").body
        assert isinstance(function, ast.FunctionDef)
        arguments = [*function.args.args, *function.args.kwonlyargs]
        documented[function.name] = [argument.arg for argument in arguments]

    methods = inspect.getmembers(pannier.Session, inspect.isfunction)
    assert documented == {
        name: [*inspect.signature(method).parameters][1:]
        for name, method in methods
        if not name.startswith("_")
    }


# Manifests


@pytest.fixture
def tables() -> ModuleType:
    return loaded(ROOT / "tools" / "manifest_tables.py")


def test_the_tables_of_fields_are_those_of_the_crds(tables: ModuleType) -> None:
    page = text_of("manifests.md")

    assert tables.filled(page) == page, "run python tools/manifest_tables.py"


def test_the_tables_have_every_field(tables: ModuleType) -> None:
    documented = [row[0] for row in rows(text_of("manifests.md"), r"[a-z][\w.\[\]]*")]
    specs = [schema.properties["spec"] for schema in crds.schemas().values()]

    assert documented == [field.path for spec in specs for field in tables.fields(spec)]


def test_every_field_of_a_manifest_is_described() -> None:
    documents = yaml.safe_load_all(crds.FILE.read_text())
    versions = [version for each in documents for version in each["spec"]["versions"]]

    for version in versions:
        assert undescribed(version["schema"]["openAPIV3Schema"], "") == []


def undescribed(schema: dict[str, Any], path: str) -> list[str]:
    """The paths of fields without a description; what a list holds is described with the list."""
    inner = schema.get("items", schema).get("properties", {})
    missing = [] if schema.get("description", "").endswith(".") else [path]
    return missing + [
        gap for name, child in inner.items() for gap in undescribed(child, f"{path}.{name}")
    ]


@pytest.mark.parametrize("page", pages_with("yaml"), ids=named)
def test_manifests_that_are_shown_are_accepted(page: Path) -> None:
    for block in blocks(page, "yaml"):
        shown = resources.parse_files(((page.name, block.encode()),))
        _, verdicts = render(shown.buckets, shown.usecases)

        assert [verdict for verdict in verdicts if not verdict.accepted] == []


def test_mistakes_are_told_in_the_words_that_are_shown() -> None:
    with pytest.raises(ManifestErrors) as refusal:
        resources.parse_files((("broken/usecases.yaml", WITH_BROKEN_FIELDS),))

    assert f"\npannier-gateway: {refusal.value}\n" in text_of("manifests.md")


# Examples


@pytest.mark.parametrize("page", pages_with("python"), ids=named)
def test_python_examples_print_what_they_say(page: Path, gateway: Gateway, tmp_path: Path) -> None:
    code = "\n".join(blocks(page, "python"))
    said = re.findall(r"\bprint\(.*\)  # (.*)$", code, re.MULTILINE)
    code = code.replace(URLS["data"], gateway.url)

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"PANNIER_URL": gateway.url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    printed = run.stdout.replace(gateway.url, URLS["data"]).splitlines()

    assert run.stderr == ""
    assert len(printed) == len(said)
    for line, comment in zip(printed, said, strict=True):
        assert re.fullmatch(re.escape(comment).replace("…", ".*"), line)


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """What is typed after `$` to ask a gateway, and the lines that are shown below it."""
    text = "".join(blocks(page, "console"))
    typed = (part.splitlines() for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:])
    return [(part[0], part[1:]) for part in typed if re.match(r"curl |\w+=", part[0])]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_curl_prints_what_is_shown(page: Path, gateway: Gateway, tmp_path: Path) -> None:
    """All commands of a page in one shell, as a reader would type them."""
    typed = commands(page)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    script = "".join(f"printf '\\n--next--\\n'; {command}\n" for command, _ in typed)
    script = script.replace(URLS["data"], gateway.url).replace(URLS["admin"], gateway.admin_url)
    printed = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "no_proxy": "*"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    answers = masked(printed).split("\n--next--\n")[1:]
    wrong = [
        (command, shown, answer)
        for (command, shown), answer in zip(typed, answers, strict=True)
        if not in_order([masked(line) for line in shown], answer.splitlines())
    ]
    assert wrong == []


def started_by_hand() -> list[str]:
    """What pages have their readers type to start a gateway that needs no more than a checkout."""
    text = "".join(
        block for page in PAGES for kind in ("sh", "console") for block in blocks(page, kind)
    )
    typed = re.findall(
        r"^(?:\$ )?(\.venv/bin/pannier-gateway --manifests examples/\S+.*)$", text, re.MULTILINE
    )
    return sorted({line.partition(" #")[0].strip() for line in typed if "--tls" not in line})


def test_commands_are_typed_as_a_checkout_has_them() -> None:
    files = [*PAGES, *(ROOT / "examples").iterdir()]
    text = "".join(file.read_text() for file in files if file.is_file())

    assert len(started_by_hand()) >= 3
    assert re.findall(r"^[$#] +(?:\w+=\S+ )?pannier-\w+ .*", text, re.MULTILINE) == []


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What passes for one to what is typed in it; gateways take free ports there."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.setenv("PANNIER_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("PANNIER_ADMIN_LISTEN", "127.0.0.1:0")
    return tmp_path


def first_line(command: str, folder: Path) -> str:
    """What a gateway says that is started so, and ended then."""
    shell = ["sh", "-c", f"exec {command}"]
    with subprocess.Popen(
        shell, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.terminate()
        _, complaint = process.communicate()
    assert process.returncode == 0, complaint
    return said


@pytest.mark.slow
@pytest.mark.parametrize("command", started_by_hand())
def test_a_gateway_starts_when_its_command_is_pasted(command: str, checkout: Path) -> None:
    assert first_line(command, checkout).startswith("pannier-gateway ready: data http://")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_hub_starts_with_the_certificates_that_are_shown(checkout: Path) -> None:
    hub, certificates = blocks(ROOT / "docs" / "tls.md", "console")
    pasted = re.sub(r"^\$ ", "", certificates, flags=re.MULTILINE)
    subprocess.run(["sh", "-ec", pasted], cwd=checkout, capture_output=True, check=True)

    command = hub.removeprefix("$ ").replace("0.0.0.0:8652", "127.0.0.1:0")

    assert " tls https://" in first_line(command, checkout)


def masked(text: str) -> str:
    for name, pattern in VOLATILE.items():
        text = re.sub(pattern, name, text)
    return text


@pytest.mark.slow
def test_the_readme_shows_what_the_demo_prints() -> None:
    demo = [sys.executable, str(ROOT / "examples" / "demo.py")]
    printed = subprocess.run(demo, capture_output=True, text=True, check=True).stdout

    shown = next(block for block in blocks(ROOT / "README.md", "console") if "make demo" in block)

    assert in_order([*without_times(shown)][1:], [*without_times(printed)])


def without_times(text: str) -> Iterator[str]:
    """The lines, without what depends on the machine."""
    for line in text.splitlines():
        timeless = re.sub(r"[\d.]+ m?s\b", "(time)", re.sub(r"127\.0\.0\.1:\d+", "(at)", line))
        yield " ".join(re.sub(r"\S+/bin/", "bin/", timeless).split())


# The pages


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_to_a_heading_find_it(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^):#\s]*)#([^)\s]+)\)", page.read_text()):
        text = (page.parent / (target or page.name)).read_text()
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)

        assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
