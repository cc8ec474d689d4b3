"""docs/operator.md says what the command takes and prints: all of it, and nothing else."""

import argparse
import os
import re
from pathlib import Path

import pytest

from pannier_operator import command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operator.md").read_text()
COMMANDS = ("check", "run", "unprotect")  # crds has no options, those of the injector have a page


def section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Of each command."""
    found = (each.choices for each in command._parser()._actions)
    return next(choices for choices in found if isinstance(choices, dict))


def actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    given = (each for each in parser._actions if each.dest != "help")
    return {
        each.option_strings[0] if each.option_strings else str(each.metavar): each for each in given
    }


def rows(name: str) -> dict[str, tuple[str, str]]:
    """Default and meaning, by argument."""
    found = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*) \|$", section(name), re.MULTILINE)
    return {argument: (default.strip("`"), meaning) for argument, default, meaning in found}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_documented_with_its_default(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    parser = parsers()[name]

    documented = {argument: default for argument, (default, _) in rows(name).items()}
    assert documented.keys() == actions(parser).keys()
    for argument, action in actions(parser).items():
        match documented[argument]:
            case "none":
                assert action.default in (None, [])
            case "off":
                assert action.default is False
            case text:
                assert vars(parser.parse_args([argument, text]))[action.dest] == action.default


@pytest.mark.parametrize("name", COMMANDS)
def test_every_choice_and_every_argument_means_something(name: str) -> None:
    for argument, action in actions(parsers()[name]).items():
        _, meaning = rows(name)[argument]
        assert meaning
        assert meaning == "as above" or all(f"`{each}`" in meaning for each in action.choices or ())


def test_commands_that_have_no_table_need_none() -> None:
    assert parsers().keys() == {*COMMANDS, "crds", "injector"}
    assert actions(parsers()["crds"]) == {}


def test_check_prints_what_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (shown,) = re.findall(
        r"```console\n\$ .venv/bin/pannier-operator (check .*?)\n(.*?)```", PAGE, re.DOTALL
    )

    assert command.main(shown[0].split()) == 0

    assert capsys.readouterr().out == shown[1]


def test_the_page_tells_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "KUBECONFIG", "/some/where")

    assert parsers()["run"].parse_args([]).kubeconfig == Path("/some/where")
    assert "`KUBECONFIG`" in rows("run")["--kubeconfig"][1]
