"""The command line: one clear line and a status that scripts can rely on."""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pannier.version import __version__
from pannier_gateway.config import crds
from pannier_operator import command
from pannier_operator.lease import LeaseName
from pannier_operator.settings import Address, Settings, add_options, settings_of
from support.interrupts import interrupted
from support.manifests import Json, bucket, huge, placed, usecase

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
S3 = {"bucket": "shared", "region": "eu-1"}


def written(path: Path, *manifests: Json) -> str:
    path.write_text(yaml.safe_dump_all(manifests))
    return str(path)


def test_the_quickstart_would_be_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check", str(QUICKSTART)]) == 0

    said = capsys.readouterr().out.splitlines()
    assert "Usecase default/attachments: Ready: gateways are told of it" in said
    assert any(line.startswith("Bucket default/main: NoClaim: ") for line in said)


def test_what_would_be_refused_is_said_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = usecase("lost", bucketRef={"name": "no"})

    assert command.main(["check", written(tmp_path / "m.yaml", bucket(), usecase(), lost)]) == 1

    assert "Usecase default/lost: BucketNotFound: " in capsys.readouterr().out


def test_several_files_are_one_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = bucket(type="S3", s3=S3)
    one, two = (
        written(
            tmp_path / f"{name}.yaml",
            placed(shared, name, "2026-01-01T00:00:00Z"),
            placed(usecase(), name, "2026-01-01T00:00:00Z"),
        )
        for name in ("a", "b")
    )

    assert command.main(["check", one, two]) == 1

    said = capsys.readouterr().out
    assert "Usecase a/attachments: Ready" in said
    assert "Usecase b/attachments: NameConflict" in said


def test_every_mistake_of_a_file_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "m.yaml", bucket(type="Tape"), usecase(suspend=1))

    assert command.main(["check", path]) == 1

    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_gateways_would_be_told_is_shown_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["check", "--render", str(QUICKSTART)]) == 0

    assert '"usecases":{"attachments":' in capsys.readouterr().out


def test_the_crds_are_those_of_this_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["crds"]) == 0

    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert printed == list(yaml.safe_load_all(crds.FILE.read_text()))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["run", "--resync=0"], "'0' is not a number above 0"),
        (["run", "--write-rate=fast"], "'fast'"),
        (["run", "--namespace=Team_A"], "'Team_A' is not a namespace's name"),
        (["run", "--lease=operator"], "'operator' is not NAMESPACE/NAME"),
        (["run", "--metrics-listen=8652"], "'8652' is not HOST:PORT"),
        (["run", "--kubeconfig=/no/such/file"], "no way to a cluster"),
        (["check", "/no/such/file.yaml"], "/no/such/file.yaml"),
        (["--foo"], "--foo (see pannier-operator --help)"),
        (["check", "--foo"], "--foo (see pannier-operator check --help)"),
        (["injector", "--foo=1"], "--foo=1 (see pannier-operator injector --help)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pannier-operator: ")
    assert complaint in line


@pytest.mark.parametrize("what", [[], ["run"], ["check"], ["crds"], ["injector"]])
def test_help_is_there(what: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([*what, "--help"])

    assert ended.value.code == 0
    assert "usage: pannier-operator" in capsys.readouterr().out


def test_without_what_it_needs_it_says_what_to_install() -> None:
    blocked = "import sys; sys.modules['msgspec'] = None; sys.argv = ['pannier-operator', 'crds']"
    run = "import runpy; runpy.run_module('pannier_operator', run_name='__main__')"

    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}; {run}"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "pip install '.[operator]'" in done.stderr


def test_manifests_are_checked_without_the_libraries_of_a_cluster() -> None:
    program = (
        "import sys; from pannier_operator import command;"
        f" command.main(['check', {str(QUICKSTART)!r}]);"
        " sys.exit(bool({'kopf', 'kubernetes', 'aiohttp'} & sys.modules.keys()))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_run_is_told_is_what_it_goes_by() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    told = ["--kubeconfig=k", "--namespace=a", "--namespace=b", "--namespace=a", "--resync=9"]
    more = ["--metrics-listen=[::1]:1", "--write-rate=8", "--lease=a/b", "--log-level=debug"]

    assert settings_of(parser.parse_args(told + more)) == Settings(
        kubeconfig=Path("k"),
        namespaces=("a", "b"),
        metrics_listen=Address("::1", 1),
        resync=9.0,
        write_rate=8.0,
        lease=LeaseName("a", "b"),
        log_level="debug",
    )


def test_more_than_a_config_map_holds_would_be_refused_where_it_is_and_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = [bucket(), usecase(), *map(huge, range(220))]
    beside = [placed(each, "calm") for each in (bucket(), usecase())]
    path = tmp_path / "m.yaml"
    path.write_text("\n---\n".join(map(json.dumps, crowd + beside)))

    assert command.main(["check", str(path)]) == 1

    said = capsys.readouterr().out
    assert "Usecase default/attachments: ConfigTooLarge: " in said
    assert "move usecases to another namespace" in said
    assert "Usecase calm/attachments: Ready: " in said


def test_who_interrupts_an_import_sees_no_traceback() -> None:
    check = [sys.executable, "-m", "pannier_operator", "check", str(QUICKSTART)]

    assert interrupted(check) == (-signal.SIGINT, "")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pannier-operator {__version__}\n"
