"""`pannier-gateway lifecycle`: what it says, what it writes, and its exit status."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from pannier_gateway.config import render, resources
from pannier_gateway.config.documents import Document
from pannier_gateway.settings import LifecycleSettings, SettingsError, parse_lifecycle
from pannier_gateway.steward import chosen
from pannier_gateway.stores.s3.lifecycle import NO_RULES, Rules
from pannier_gateway.stores.s3.traits import Traits
from support import example
from support.engines import make_bucket, versitygw
from support.interrupts import interrupted
from support.manifests import Json, bucket, placed, usecase
from support.rulebook import Rulebook, rule

THEIRS = rule("theirs", "<Status>Enabled</Status><Expiration><Days>9</Days></Expiration>")
PROBED = Traits(layout="marked", tags=True, lifecycle=True)
NOTHING: Mapping[str, str] = {}
S3 = {
    "bucket": "objects",
    "region": "r",
    "addressing": "Path",
    "auth": {"mode": "Anonymous"},
}
BOUND = {"policy": "TimeToLive", "maxAfter": "30d"}
THIRTY_DAYS = usecase(
    bucketRef={"name": "store"},
    defaults={"expiration": {"policy": "TimeToLive", "after": "7d"}},
    allowedExpirations=[BOUND],
)


def lifecycle(
    *arguments: str, environment: Mapping[str, str] = NOTHING
) -> tuple[int, list[str], str]:
    """Exit status, lines on standard output, and standard error."""
    command = [sys.executable, "-m", "pannier_gateway", "lifecycle", *arguments]
    done = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@contextmanager
def store(
    folder: Path, rules: Rules = NO_RULES, traits: Traits | None = PROBED, **more: object
) -> Iterator[tuple[Rulebook, str]]:
    """A store with these rules, and manifests for it."""
    with Rulebook(rules, traits=traits).open() as book:
        yield book, written(folder, s3_bucket("store", book.url, **more), THIRTY_DAYS)


def written(folder: Path, *manifests: object) -> str:
    (folder / "s3.yaml").write_text(yaml.safe_dump_all(manifests))
    return str(folder / "s3.yaml")


def s3_bucket(name: str, url: str, **more: object) -> Json:
    return bucket(name, type="S3", endpoints=[url], allowPlaintext=True, s3=S3, **more)


# Settings


def test_settings_come_from_arguments_or_the_environment() -> None:
    arguments = ["--manifests", "m", "--secrets-dir", "s", "--bucket", "b"]
    variables = {"PANNIER_MANIFESTS": "m", "PANNIER_SECRETS_DIR": "s", "PANNIER_DRAIN": "5"}
    settings = parse_lifecycle(["apply", *arguments], {})

    assert settings == LifecycleSettings(
        action="apply", manifests=Path("m"), config=None, secrets_dir=Path("s"), bucket="b"
    )
    assert parse_lifecycle(["apply", "--bucket", "b"], variables) == settings
    other = parse_lifecycle(["plan", "--config", "c"], {"PANNIER_MANIFESTS": "m"})
    assert (other.action, other.config, other.manifests) == ("plan", Path("c"), None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], r"plan\|apply"),
        (["--foo"], "unrecognized arguments: --foo"),
        (["destroy", "--manifests", "m"], "destroy"),
        (["plan"], "one of --manifests and --config"),
        (["plan", "--manifests", "m", "--config", "c"], "one of --manifests and --config"),
        (["plan", "m"], "--manifests m"),
        (["plan", "--manifests", "m", "--listen", "x:1"], "--listen"),
    ],
)
def test_settings_that_make_no_sense_are_told(arguments: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_lifecycle(arguments, {})


def test_the_buckets_of_s3_are_meant_or_the_one_that_is_named() -> None:
    s3 = bucket("s", type="S3", s3=S3)
    objects = [bucket("files"), placed(s3, "a"), placed(s3, "b"), usecase(bucketRef={"name": "s"})]
    parsed = resources.parse(Document("m", n, each) for n, each in enumerate(objects))
    config, _ = render.render(parsed.buckets, parsed.usecases)

    assert set(chosen(config, None)) == {"a/s", "b/s"}
    assert set(chosen(config, "b/s")) == {"b/s"}
    for name, said in {"s": "several", "files": "no Bucket", "c/s": "there are a/s, b/s"}.items():
        with pytest.raises(SettingsError, match=said):
            chosen(config, name)


# As a command


@pytest.mark.slow
def test_rules_are_planned_and_applied_and_then_there_is_nothing_to_do(tmp_path: Path) -> None:
    with store(tmp_path, (THEIRS,), prefix="team/a") as (book, manifests):
        status, lines, errors = lifecycle("plan", "--manifests", manifests)
        assert (status, errors, book.put) == (1, "", [])
        assert lines[0] == "Bucket default/store, keys under team/a/:"
        tag = "deletes what is tagged pannier-expiry=30d, 31 days after it was written"
        assert f"  + pannier-30d/team/a: {tag}" in lines
        assert not any("45d" in line for line in lines)

        status, lines, errors = lifecycle("apply", environment={"PANNIER_MANIFESTS": manifests})
        assert (status, errors) == (0, "")
        assert lines[-1] == "  10 written, and read back as they were written"
        assert book.rules[0] == THEIRS

        status, lines, errors = lifecycle("plan", "--manifests", manifests)
        assert (status, errors) == (0, "")
        assert lines[1:2] == ["  = 11 stay as they are"]


@pytest.mark.slow
def test_rules_of_others_that_delete_too_are_told(tmp_path: Path) -> None:
    with store(tmp_path, (THEIRS,)) as (_, manifests):
        _, lines, _ = lifecycle("plan", "--manifests", manifests)

    assert "  ! the rule 'theirs' of others deletes here too, expired or not" in lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("traits", "said"),
    [(None, "no gateway has been here yet"), (Traits(lifecycle=True), "the store keeps no tags")],
)
def test_what_was_found_of_the_store_counts(
    tmp_path: Path, traits: Traits | None, said: str
) -> None:
    with store(tmp_path, traits=traits) as (_, manifests):
        status, lines, _ = lifecycle("plan", "--manifests", manifests)

    assert status == (traits is None)
    assert any(said in line for line in lines)


@pytest.mark.slow
def test_a_store_that_loses_the_filter_keeps_its_rules_and_is_told_of(tmp_path: Path) -> None:
    with store(tmp_path, (THEIRS,)) as (book, manifests):
        book.keep = lambda rules: tuple(
            each._replace(xml=each.xml.replace("<Tag>", "<!--").replace("</Tag>", "-->"))
            for each in rules
        )
        status, _, errors = lifecycle("apply", "--manifests", manifests)

        assert book.rules == (THEIRS,)
    assert status == 2
    assert errors.startswith("pannier-gateway: lifecycle rules: Bucket default/store ('objects'")
    assert "does not keep lifecycle rules as they are written" in errors
    assert errors.endswith("the rules are as they were before\n")


@pytest.mark.slow
def test_one_bucket_that_fails_does_not_keep_the_others_from_being_seen_to(tmp_path: Path) -> None:
    gone = s3_bucket("gone", "http://127.0.0.1:9")
    with store(tmp_path) as (book, _):
        manifests = written(tmp_path, gone, s3_bucket("store", book.url), THIRTY_DAYS)
        status, lines, errors = lifecycle("plan", "--manifests", manifests)

    assert status == 2
    assert "default/gone" in errors
    assert "can't be reached" in errors
    assert any(line.startswith("Bucket default/store") for line in lines)


@pytest.mark.slow
def test_buckets_that_need_none_are_left_alone(tmp_path: Path) -> None:
    with store(tmp_path, access="ReadOnly") as (book, manifests):
        told = lifecycle("apply", "--manifests", manifests)

    assert told == (0, ["Bucket default/store: left alone, it is ReadOnly"], "")
    assert book.put == []

    quickstart = lifecycle("plan", "--manifests", "examples/quickstart.yaml")
    assert quickstart[0] == 0
    assert "no Bucket of type S3" in quickstart[1][0]


@pytest.mark.slow
def test_an_engine_without_rules_says_so(tmp_path: Path) -> None:
    with versitygw(tmp_path / "engine") as engine:
        make_bucket(engine)
        (tmp_path / "s3.yaml").write_text(example.plain(engine.url))

        for action in ("plan", "apply"):
            status, lines, errors = lifecycle(action, "--manifests", str(tmp_path / "s3.yaml"))
            assert (status, lines) == (2, [])
            assert "501 NotImplemented" in errors
            assert "does not offer" in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--manifests", "nowhere"], "nowhere"),
        (["plan", "--config", "nowhere"], "nowhere"),
        (["plan", "--manifests", "examples/s3.yaml", "--bucket", "other"], "default/store"),
        (["plan"], "--manifests"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: list[str], said: str) -> None:
    status, lines, errors = lifecycle(*arguments)

    assert (status, lines) == (2, [])
    assert said in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.slow
def test_help_names_it() -> None:
    command = [sys.executable, "-m", "pannier_gateway", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "pannier-gateway lifecycle plan|apply" in told
    assert "exit status" in "".join(lifecycle("--help")[1])


def test_what_was_interrupted_before_it_began_was_not_done() -> None:
    plan = [sys.executable, "-m", "pannier_gateway", "lifecycle", "plan"]

    assert interrupted(plan) == (-signal.SIGINT, "")
