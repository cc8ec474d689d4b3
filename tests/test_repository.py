"""What must hold of the repository as a whole, and would otherwise rot in silence."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from pannier import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
PACKAGES = ("client/pannier", "gateway/pannier_gateway", "operator/pannier_operator")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sources() -> list[Path]:
    return [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("folder", ["client", "gateway", "operator"])
def test_a_folder_of_packages_is_no_package_itself(folder: str) -> None:
    """`operator/__init__.py` would shadow the standard library for every Python started here."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_tests_are_files_and_not_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.slow
def test_the_wheel_is_made_of_the_three_packages_with_all_their_files(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)

    with ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    kept = {
        file.relative_to((ROOT / package).parent).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert packed == kept


def test_the_client_alone_installs_nothing_else() -> None:
    assert PROJECT["project"]["dependencies"] == []


def test_the_version_is_written_in_one_place() -> None:
    written = [named(file) for file in sources() if f'"{__version__}"' in file.read_text()]

    assert written == ["client/pannier/version.py"]
    assert importlib.metadata.version("pannier") == __version__


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_every_locked_requirement_is_pinned_with_its_hashes(lock: Path) -> None:
    logical_lines = lock.read_text().replace("\\\n", " ").splitlines()
    requirements = [line for line in logical_lines if not line.startswith("#")]

    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_a_lock_names_no_index_and_no_host(lock: Path) -> None:
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links| @ ", lock.read_text()) == []


@pytest.mark.parametrize("extra", ["gateway", "operator"])
def test_an_image_runs_what_was_tested(extra: str) -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.lock").read_text()
        return set(re.findall(r"^[a-z0-9-]+==\S+", text, re.MULTILINE))

    assert pins(extra) <= pins("dev")


@pytest.mark.parametrize("extra", ["gateway", "operator"])
def test_the_lock_knows_every_dependency_of_an_extra(extra: str) -> None:
    wanted = PROJECT["project"]["optional-dependencies"][extra]
    locked = (ROOT / "requirements" / f"{extra}.lock").read_text()

    for requirement in wanted:
        name = re.split(r"[<>=!;\[ ]", requirement)[0].lower()
        assert re.search(rf"^{name}==", locked, re.MULTILINE), f"{name}: run `make lock`"


def test_make_alone_explains_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    public = re.findall(r"^([a-z0-9]+):.*## \S", text, re.MULTILINE)

    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert re.findall(r"make (\w+) +\S", listed) == public
    assert {"demo", "test", "check", "bench"} <= set(public)
    assert len(public) <= 12


def test_continuous_integration_runs_what_people_run() -> None:
    assert re.search(r"^make test", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_the_readme_says_what_it_is_and_soon_shows_code() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()

    assert "object storage" in lines[0].lower()
    assert any(line.startswith("```") for line in lines[:15])


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(page.name[:4]) for page in (ROOT / "docs/decisions").glob("*.md"))

    assert numbers == list(range(1, len(numbers) + 1))


def test_import_contracts_cover_the_three_packages() -> None:
    contracts = PROJECT["tool"]["importlinter"]

    assert contracts["root_packages"] == [Path(package).name for package in PACKAGES]
    assert contracts["contracts"]


def stages() -> dict[str, list[str]]:
    """The Dockerfile's stages: their lines, after those of the stage each starts from."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = start[2]
            found[name] = list(found.get(start[1], [line]))
        elif name and line and not line.startswith("#"):
            found[name].append(line)
    return found


@pytest.mark.parametrize("target", ["gateway", "operator"])
def test_an_image_is_an_unprivileged_user_with_one_command(target: str) -> None:
    lines = stages()[target]

    assert "USER 65532:65532" in lines
    assert lines[0].startswith("FROM ${BASE}")
    assert sum(line.startswith("ENTRYPOINT [") for line in lines) == 1
    assert not any("pip" in line for line in lines), "nothing is installed in the final stage"


def test_images_install_only_what_the_locks_pin() -> None:
    commands = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")

    for command in re.findall(r"pip .*?install [^&\n]*", commands):
        assert "--require-hashes" in command or "--no-index" in command, command
