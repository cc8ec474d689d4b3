"""What `make` does again, and what it leaves alone, when it sets up its environment."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from support.programs import loaded

TOOL = Path(__file__).parent.parent / "tools" / "environment.py"
WANTED = {"python": "3.13", "lock": "b", "project": "c"}


@pytest.fixture
def environment() -> ModuleType:
    return loaded(TOOL)


def test_nothing_is_done_where_nothing_changed(environment: ModuleType) -> None:
    assert environment.outdated(WANTED, WANTED) == []


@pytest.mark.parametrize(
    ("found", "again"),
    [
        ({}, ["python", "lock", "project"]),
        (WANTED | {"python": "3.12"}, ["python", "lock", "project"]),
        (WANTED | {"lock": "a"}, ["lock", "project"]),
        (WANTED | {"project": "moved"}, ["project"]),
    ],
)
def test_what_changed_is_done_again_with_all_that_builds_on_it(
    environment: ModuleType, found: dict[str, str], again: list[str]
) -> None:
    assert environment.outdated(found, WANTED) == again


def test_a_setup_that_was_cut_short_starts_over(environment: ModuleType, tmp_path: Path) -> None:
    stamp = tmp_path / "pannier.json"
    stamp.write_text('{"python": ')

    assert environment.read_state(stamp) == {}
    assert environment.read_state(tmp_path / "absent") == {}


def test_a_python_that_is_too_old_is_told_what_to_do(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "OLDEST", (99, 0))  # no test runs on a Python so old

    with pytest.raises(SystemExit, match=r"needs Python 99\.0 or newer.*make PYTHON="):
        environment.main()


def test_a_python_that_can_install_nothing_is_told_what_to_do(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "has", lambda _module: False)  # as Debian's bare python3

    with pytest.raises(SystemExit, match="apt install python3-venv"):
        environment.create(tmp_path / "venv")


def test_what_is_installed_is_told_before_it_takes_its_time(
    environment: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "lock").write_text("one==1 \\\n    --hash=sha256:0\ntwo==2 --hash=sha256:1\n")
    monkeypatch.setattr(environment, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(environment, "pip", lambda _venv: ["false"])

    with pytest.raises(SystemExit, match="could not be installed: see above"):
        environment.install_lock(tmp_path)

    assert capsys.readouterr().out == "setup: installing 2 packages …\n"


def test_a_python_without_ensurepip_lends_its_own_pip(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "has", lambda module: module == "pip")  # as in images

    environment.create(tmp_path)

    assert environment.pip(tmp_path)[:1] == [sys.executable]
    assert (tmp_path / "bin" / "python").exists()
