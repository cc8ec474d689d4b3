"""The script that passes a verdict on a change: what it runs, and what it makes of the outcomes."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
COUNT = "=== 9 passed in 1 s ==="


class Outcome(NamedTuple):
    """What the script came to: whether it let the change pass, and what it printed."""

    passed: bool
    lines: list[str]


class Machine:
    """One where `make` and the tests on a node end as they are told to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in (".ci", ".venv/bin", "path"):
            (folder / name).mkdir(parents=True)
        (folder / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())

    def run(self, *, lint: int = 0, test: int = 0, e2e: int | str = 0) -> Outcome:
        """`e2e`: how it ends, or what decides that."""
        targets = f'lint) exit {lint};; test) echo "{COUNT}"; exit {test};;'
        self._program("path/make", f'echo "make $* CI=$CI"; case $1 in {targets} esac')
        ending = e2e if isinstance(e2e, str) else f"exit {e2e}"
        self._program(".venv/bin/python", f'echo "python $*"; {ending}')
        path = f"{self._folder / 'path'}:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", self._folder / ".ci" / "run"],
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return Outcome(done.returncode == 0, done.stdout.splitlines())

    def _program(self, name: str, script: str) -> None:
        program = self._folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_all_is_run_in_turn_and_the_count_of_tests_comes_last(machine: Machine) -> None:
    outcome = machine.run()

    assert outcome.passed
    run = [line.split()[1] for line in outcome.lines if line.startswith(("make", "python"))]
    assert run == ["lint", "test", "tools/e2e.py"]
    assert outcome.lines[-1] == COUNT


def test_what_a_machine_can_not_have_is_no_reason_to_skip_a_test(machine: Machine) -> None:
    """Tests know by CI=true that nobody would read of it."""
    made = [line for line in machine.run().lines if line.startswith("make test")]

    assert [line.endswith("CI=true") for line in made] == [True]


def test_what_fails_on_a_node_is_tried_once_more(machine: Machine) -> None:
    outcome = machine.run(e2e=1)

    assert not outcome.passed
    assert outcome.lines.count("python tools/e2e.py") == 2
    assert machine.run(e2e="test -e tried || { touch tried; false; }").passed


def test_a_machine_that_bears_no_node_is_passed_over(machine: Machine) -> None:
    assert machine.run(e2e=77).passed


@pytest.mark.parametrize("part", ["lint", "test", "e2e"])
def test_a_failure_is_told_at_the_end_and_keeps_nothing_from_being_run(
    machine: Machine, part: str
) -> None:
    outcome = machine.run(**{part: 2})

    assert not outcome.passed
    assert any("tools/e2e.py" in line for line in outcome.lines)
    assert part in outcome.lines[-2].partition("failed, see above:")[2]
    assert outcome.lines[-1] == COUNT
