"""What the process is told at its start: arguments, or the environment, or defaults."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pannier.version import __version__
from pannier_gateway.settings import Address, SettingsError, build_parser, parse_settings

SOME = ["--manifests", "m.yaml"]


def refusal(*arguments: str, **environment: str) -> str:
    with pytest.raises(SettingsError) as refused:
        parse_settings(arguments, environment)
    return str(refused.value)


def test_without_more_the_defaults_hold() -> None:
    settings = parse_settings(SOME, {})

    assert settings.manifests == Path("m.yaml")
    assert settings.config is None
    assert settings.data_dir == Path("pannier-data")
    assert settings.listen == Address("127.0.0.1", 8650)
    assert settings.admin_listen == Address("0.0.0.0", 8651)
    assert settings.socket is None
    assert (settings.durability, settings.drain, settings.log_level) == ("full", 25.0, "info")


ALL = {
    "config": "c.json",
    "data-dir": "/data",
    "claims-dir": "/claims",
    "secrets-dir": "/secrets",
    "tls-listen": "0.0.0.0:8443",
    "tls-dir": "tls",
    "tls-clients": "clients.yaml",
    "durability": "relaxed",
    "spool-size": "512Mi",
    "listen": "[::1]:0",
    "admin-listen": "localhost:9",
    "socket": "/run/pannier.sock",
    "drain": "1.5",
    "sweep-interval": "60",
    "log-level": "debug",
    "workers": "1",
    "worker": "2",
}


def test_every_setting_can_come_from_the_environment_as_well() -> None:
    arguments = [word for name, text in ALL.items() for word in (f"--{name}", text)]
    variables = {f"PANNIER_{n.upper().replace('-', '_')}": text for n, text in ALL.items()}

    settings = parse_settings(arguments, {})

    assert settings == parse_settings([], variables)
    assert settings.listen == Address("::1", 0)
    assert str(settings.listen) == "[::1]:0"
    assert settings.drain == 1.5
    assert settings.hub == (Address("0.0.0.0", 8443), Path("tls"), Path("clients.yaml"))
    options = {option for action in build_parser()._actions for option in action.option_strings}
    assert options == {"-h", "--help", "--version", "--manifests", *(f"--{name}" for name in ALL)}


def test_an_argument_wins_over_the_environment() -> None:
    settings = parse_settings([*SOME, "--drain", "3"], {"PANNIER_DRAIN": "5"})

    assert settings.drain == 3


def test_other_variables_are_none_of_its_business() -> None:
    other = {"PANNIER_HELP": "yes", "PANNIER_VERSION": "9", "PANNIER_SERVICE_HOST": "10.0.0.1"}

    assert parse_settings(SOME, other) == parse_settings(SOME, {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of --manifests and --config"),
        ([*SOME, "--config", "c.json"], "one of --manifests and --config"),
        ([*SOME, "--lisen", "127.0.0.1:1"], "--lisen"),
        ([*SOME, "--data", "d"], "--data"),
        ([*SOME, "--listen"], "--listen: expected one argument"),
        (["m.yaml"], "unrecognized arguments: m.yaml; manifests are given as --manifests m.yaml"),
        (["lifecyle", "plan"], "unrecognized arguments: lifecyle plan; did you mean lifecycle?"),
        (["check", "--foo"], "unrecognized arguments: --foo (see"),
        ([*SOME, "--surplus", "x"], "unrecognized arguments: --surplus (see"),
        ([*SOME, "--tls-listen", "0.0.0.0:1"], "--tls-dir and --tls-clients go together"),
        ([*SOME, "--tls-clients", "f", "--tls-dir", "d"], "go together"),
        ([*SOME, "--durability", "none"], "--durability: invalid choice: 'none'"),
        ([*SOME, "--log-level", "loud"], "--log-level: invalid choice: 'loud'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_named(arguments: list[str], said: str) -> None:
    complaint = refusal(*arguments)

    assert said in complaint
    assert "(see pannier-gateway --help)" in complaint
    assert "\n" not in complaint


@pytest.mark.parametrize("option", ["--listen", "--admin-listen"])
@pytest.mark.parametrize(
    "text", ["8650", "localhost", ":8650", "h:", "h:port", "h:-1", "h:8 650", "h:٣"]
)
def test_what_is_no_address_is_refused(option: str, text: str) -> None:
    assert f"{option}: {text!r} is not HOST:PORT" in refusal(*SOME, option, text)


def test_a_port_above_the_last_one_is_told_as_such() -> None:
    assert "--listen: 'h:65536': the last port is 65535" in refusal(*SOME, "--listen", "h:65536")


@pytest.mark.parametrize("option", ["--drain", "--sweep-interval"])
@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e12", ""])
def test_what_is_no_time_is_refused(option: str, text: str) -> None:
    assert f"{option}: {text!r} is not a number of seconds" in refusal(*SOME, f"{option}={text}")


@pytest.mark.parametrize(
    ("text", "size"), [("1Mi", 1 << 20), ("2Gi", 2 << 30), ("9999999Ti", 9999999 << 40)]
)
def test_sizes_are_written_as_in_manifests(text: str, size: int) -> None:
    assert parse_settings([*SOME, "--spool-size", text], {}).spool_size == size


@pytest.mark.parametrize("text", ["2", "2G", "0Mi", "-1Gi", "1.5Gi", "2gi", "2Gi ", "٣Gi", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    assert f"--spool-size: {text!r} is not a size in" in refusal(*SOME, f"--spool-size={text}")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PANNIER_LISTEN": "nowhere"}, "PANNIER_LISTEN: 'nowhere' is not HOST:PORT"),
        ({"PANNIER_DRAIN": "long"}, "PANNIER_DRAIN: 'long' is not a number of seconds"),
        ({"PANNIER_SWEEP_INTERVAL": "0"}, "PANNIER_SWEEP_INTERVAL: at least 0.1 seconds"),
        ({"PANNIER_LOG_LEVEL": "loud"}, "PANNIER_LOG_LEVEL: invalid choice: 'loud'"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(variables: Mapping[str, str], said: str) -> None:
    assert said in refusal(*SOME, **variables)


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--help"], {})

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for name in ("manifests", *ALL):
        assert f"--{name}" in shown
    for word in ("8650", "8651", "PANNIER_", "examples/quickstart.yaml"):
        assert word in shown


def test_the_version_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--version"], {})

    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_an_empty_variable_counts_as_none() -> None:
    settings = parse_settings(SOME, {"PANNIER_SOCKET": "", "PANNIER_DURABILITY": ""})

    assert (settings.socket, settings.durability) == (None, "full")


def test_the_source_given_as_an_argument_wins_over_the_environments_other_one() -> None:
    settings = parse_settings(["--config", "c.json"], {"PANNIER_MANIFESTS": "m.yaml"})

    assert (settings.manifests, settings.config) == (None, Path("c.json"))


def test_a_gateway_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ModuleNotFoundError(name='uvloop')")

    run = subprocess.run(
        [sys.executable, "-m", "pannier_gateway", "--help"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 2
    assert run.stderr == (
        "pannier-gateway: uvloop is missing; install the extra 'gateway', in a checkout: "
        "pip install '.[gateway]'\n"
    )
