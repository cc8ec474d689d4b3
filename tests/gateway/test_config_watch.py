"""The configuration in force follows its files: real directories, real notifications."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from pannier_gateway.config.documents import Files
from pannier_gateway.config.model import GatewayConfig, digest, dump
from pannier_gateway.config.problems import ConfigError, ManifestErrors
from pannier_gateway.config.render import render
from pannier_gateway.config.source import NOTHING, ConfigFile, Found, ManifestSource
from pannier_gateway.config.watch import ConfigWatch, difference
from support.manifests import Json, bucket, parsed, usecase

NEVER, SOON = 3600.0, 0.01  # seconds between two polls


class Outcome(NamedTuple):
    """What an observer was told; one of the two."""

    config: GatewayConfig | None = None
    error: ConfigError | None = None


class Outcomes:
    """An observer to wait on."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Outcome] = asyncio.Queue()

    def applied(self, config: GatewayConfig, digest_: str) -> None:
        assert digest_ == digest(config)
        self.told.put_nowait(Outcome(config=config))

    def refused(self, error: ConfigError) -> None:
        self.told.put_nowait(Outcome(error=error))

    async def next(self) -> Outcome:
        return await self.told.get()

    async def next_names(self) -> set[str]:
        outcome = await self.next()
        assert outcome.config is not None, outcome.error
        return set(outcome.config.usecases)


def config(*usecases: str) -> GatewayConfig:
    manifests = parsed(bucket(), *map(usecase, usecases))
    return render(manifests.buckets, manifests.usecases)[0]


def manifest_text(*objects: Json) -> bytes:
    return msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": objects})


def replace(path: Path, data: bytes) -> None:
    """As a careful writer does it: whole, or not at all."""
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").replace(path)


class Mount:
    """A directory as a kubelet keeps it for a ConfigMap: `config.json -> ..data/config.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = 0

    def write(self, data: bytes) -> None:
        old, self._version = self._version, self._version + 1
        folder = self.path / f"..{self._version}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(data)
        (self.path / "..data_tmp").symlink_to(folder.name)
        (self.path / "..data_tmp").replace(self.path / "..data")
        if old:
            shutil.rmtree(self.path / f"..{old}")
        else:
            (self.path / "config.json").symlink_to("..data/config.json")


@asynccontextmanager
async def following(watch_: ConfigWatch) -> AsyncIterator[None]:
    """`watch_` at work."""
    task = asyncio.create_task(watch_.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def watched(path: Path, outcomes: Outcomes, poll_seconds: float = NEVER) -> ConfigWatch:
    """A watch over the configuration at `path`, its first outcome taken."""
    source = ConfigFile(path) if path.suffix == ".json" else ManifestSource(path)
    found = ConfigWatch(source, outcomes, poll_seconds)
    await outcomes.next()
    return found


@pytest.mark.parametrize("write", [Path.write_bytes, replace])
async def test_a_file_written_in_place_or_replaced_takes_effect(
    tmp_path: Path, write: Callable[[Path, bytes], object]
) -> None:
    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes)
    before = found.current

    async with following(found):
        write(path, dump(config("one", "two")))
        while (await outcomes.next()).error:
            pass  # looked at between being emptied and being written

    assert found.current.usecases.keys() == {"one", "two"}
    assert before.usecases.keys() == {"one"}
    assert found.digest == digest(config("one", "two"))


async def test_a_manifest_added_to_a_directory_takes_effect(tmp_path: Path) -> None:
    outcomes = Outcomes()
    (tmp_path / "a.json").write_bytes(manifest_text(bucket(), usecase("one")))

    async with following(await watched(tmp_path, outcomes)):
        replace(tmp_path / "b.json", manifest_text(usecase("two")))

        assert await outcomes.next_names() == {"one", "two"}


@pytest.mark.parametrize("name", ["", "config.json"], ids=["manifests", "config"])
async def test_every_flip_of_a_mounted_config_map_takes_effect(tmp_path: Path, name: str) -> None:
    def content(*usecases: str) -> bytes:
        manifests = manifest_text(bucket(), *map(usecase, usecases))
        return dump(config(*usecases)) if name else manifests

    outcomes, mount = Outcomes(), Mount(tmp_path / "mount")
    mount.write(content("one"))

    async with following(await watched(mount.path / name, outcomes)):
        for usecases in ({"one", "two"}, {"two"}, {"one"}):
            mount.write(content(*usecases))
            assert await outcomes.next_names() == usecases


async def test_a_change_that_nothing_tells_of_is_found_by_polling(tmp_path: Path) -> None:
    outcomes, path = Outcomes(), tmp_path / "config.json"
    elsewhere = tmp_path / "elsewhere" / "config.json"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(dump(config("one")))
    path.symlink_to(elsewhere)

    async with following(await watched(path, outcomes, SOON)):
        replace(elsewhere, dump(config("two")))

        assert await outcomes.next_names() == {"two"}


async def test_a_folder_that_cannot_be_watched_is_polled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes, path = Outcomes(), tmp_path / "folder" / "config.json"
    path.parent.mkdir()
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes, SOON)
    path.parent.rename(tmp_path / "away")

    async with following(found):
        refused = await outcomes.next()
        (tmp_path / "away" / "config.json").write_bytes(dump(config("two")))
        (tmp_path / "away").rename(path.parent)
        names = await outcomes.next_names()

    assert "waiting for" in str(refused.error)
    assert names == {"two"}
    assert "folder not watched" in caplog.messages


@pytest.mark.parametrize("bad", [b"", b"{", dump(config("two"))[:-9], b'{"major": 2, "minor": 0}'])
async def test_a_bad_file_changes_nothing_and_is_told_once(
    tmp_path: Path, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes)

    path.write_bytes(bad)
    await found.reload()
    await found.reload()

    assert (await outcomes.next()).error is not None
    assert outcomes.told.empty()
    assert found.current == config("one")
    assert caplog.messages.count("configuration refused") == 1


async def test_a_bug_in_understanding_a_file_is_logged_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: ConfigFile, __: Files, ___: Found) -> Found:
        raise ArithmeticError("a bug")

    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes)
    monkeypatch.setattr(ConfigFile, "parse", broken)  # none is known that could be met for real

    path.write_bytes(dump(config("two")))
    await found.reload()

    assert str((await outcomes.next()).error) == f"{path}: ArithmeticError: a bug"
    assert found.current == config("one")
    (told,) = [each for each in caplog.records if each.exc_info]
    assert (told.message, vars(told)["path"]) == ("configuration not understood", str(path))


async def test_a_file_that_is_away_for_a_moment_is_no_harm(tmp_path: Path) -> None:
    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes)

    path.rename(tmp_path / "away")
    await found.reload()
    await found.reload()
    (tmp_path / "away").rename(path)
    await found.reload()

    assert "waiting for" in str((await outcomes.next()).error)
    assert outcomes.told.empty()
    assert found.current == config("one")
    assert found.problem is None


async def test_the_same_content_in_other_words_does_not_swap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pannier.config")
    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes)
    before = found.current

    path.write_bytes(dump(msgspec.structs.replace(config("one"), generation=9)) + b"\n")
    await found.reload()

    assert found.current is before
    assert outcomes.told.empty()
    assert "configuration unchanged" in caplog.messages


async def test_what_is_mended_is_told_though_nothing_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pannier.config")
    path = tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, Outcomes())

    for data in (b"{", dump(config("one"))):
        path.write_bytes(data)
        await found.reload()

    assert caplog.messages[-1] == "configuration usable again"


async def test_subscribers_are_called_when_the_new_configuration_is_in_force(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, Outcomes())
    seen: list[bool] = []
    found.subscribe(lambda new: seen.append(new is found.current))

    path.write_bytes(dump(config("two")))
    await found.reload()
    await found.reload()

    assert seen == [True]


@pytest.mark.parametrize("data", [None, b"kind: Usecase"], ids=["absent", "broken"])
def test_first_manifests_that_cannot_be_used_are_an_error(
    tmp_path: Path, data: bytes | None
) -> None:
    if data is not None:
        (tmp_path / "a.yaml").write_bytes(data)

    with pytest.raises(ManifestErrors, match=r"cannot be read: No such file|has an apiVersion"):
        ConfigWatch(ManifestSource(tmp_path / "a.yaml"), Outcomes())


async def test_a_first_configuration_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes, path = Outcomes(), tmp_path / "config.json"
    found = ConfigWatch(ConfigFile(path), outcomes, NEVER)

    assert found.problem == f"waiting for {path}, written by the operator"
    assert (found.current, found.digest) == (NOTHING.config, "")
    assert (outcomes.told.empty(), caplog.messages) == (True, [])  # nothing is wrong

    async with following(found):
        replace(path, dump(config("one")))
        assert await outcomes.next_names() == {"one"}
    assert found.problem is None


@pytest.mark.parametrize("broken", [b"{", b'{"major": 99, "minor": 0}', b'{"a":' * 100_000])
async def test_a_first_configuration_that_is_broken_is_told_and_waited_for(
    tmp_path: Path, broken: bytes
) -> None:
    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(broken)

    found = ConfigWatch(ConfigFile(path), outcomes, NEVER)
    refused = await outcomes.next()
    assert found.problem == str(refused.error)
    assert found.problem.startswith(f"{path}: configuration")

    path.write_bytes(dump(config("one")))
    await found.reload()
    assert await outcomes.next_names() == {"one"}
    assert found.problem is None


async def test_manifests_in_the_place_of_a_configuration_are_told_from_a_broken_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.json"
    path.write_text("apiVersion: pannier.dev/v1alpha1\nkind: Bucket\n")

    found = ConfigWatch(ConfigFile(path), Outcomes(), NEVER)

    assert found.problem == (
        f"{path}: this is no configuration but a manifest (--manifests takes manifests)"
    )


async def test_a_change_between_the_first_look_and_the_watch_is_found_at_once(
    tmp_path: Path,
) -> None:
    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes)
    replace(path, dump(config("two")))

    async with following(found):
        assert await outcomes.next_names() == {"two"}


async def test_a_change_while_the_watch_makes_sure_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file changes just after that second look: what told of it must be on by then."""
    outcomes, path = Outcomes(), tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, outcomes)
    look = found.reload
    looks: list[int] = []

    async def reload() -> None:
        await look()
        looks.append(len(looks))
        if len(looks) == 1:
            replace(path, dump(config("two")))

    monkeypatch.setattr(found, "reload", reload)
    async with following(found):
        assert await outcomes.next_names() == {"two"}


async def test_a_folder_that_comes_later_is_watched_from_then_on(tmp_path: Path) -> None:
    outcomes, path = Outcomes(), tmp_path / "folder" / "config.json"
    found = ConfigWatch(ConfigFile(path), outcomes, SOON)

    async with following(found):
        await asyncio.sleep(0)
        path.parent.mkdir()
        replace(path, dump(config("one")))
        assert await outcomes.next_names() == {"one"}


async def test_what_is_left_out_is_known_with_its_name_in_urls(tmp_path: Path) -> None:
    outcomes, path = Outcomes(), tmp_path / "a.yaml"
    lost = usecase("two", name="In_Urls", bucketRef={"name": "x"})
    path.write_bytes(manifest_text(bucket(), usecase("one"), lost))
    found = await watched(path, outcomes)

    (refused,) = found.refused
    assert (refused.resource, refused.usecase) == ("Usecase default/two", "In_Urls")
    assert (refused.reason, refused.message[:26]) == (
        "BucketNotFound",
        "there is no Bucket default",
    )

    path.write_bytes(manifest_text(bucket(), usecase("one")))
    await found.reload()
    assert found.refused == ()
    assert await outcomes.next_names() == {"one"}  # what is served is told again without it


async def test_the_generation_counts_accepted_changes_of_manifests(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(manifest_text(bucket(), usecase("one")))
    found = await watched(path, Outcomes())

    generations = []
    for text in (
        manifest_text(bucket(), usecase("one")) + b"\n# a remark\n",
        manifest_text(bucket(), usecase("two")),
        b"nonsense",
        manifest_text(bucket(), usecase("three")),
    ):
        path.write_bytes(text)
        await found.reload()
        generations.append(found.current.generation)

    assert generations == [1, 2, 2, 3]


async def test_a_resource_refused_from_the_start_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(
        manifest_text(bucket(), usecase("one"), usecase("two", bucketRef={"name": "x"}))
    )

    found = await watched(path, Outcomes())

    assert found.current.usecases.keys() == {"one"}
    (told,) = (vars(record) for record in caplog.records if record.msg == "resource refused")
    assert (told["resource"], told["reason"]) == ("Usecase default/two", "BucketNotFound")
    assert told["error"].startswith("there is no Bucket default/x")


async def test_a_mistake_in_what_is_served_holds_the_change_back(tmp_path: Path) -> None:
    outcomes, path = Outcomes(), tmp_path / "a.yaml"
    path.write_bytes(manifest_text(bucket(), usecase("one"), usecase("two")))
    found = await watched(path, outcomes)

    path.write_bytes(manifest_text(bucket("mian"), usecase("one"), usecase("two")))
    await found.reload()
    path.write_bytes(
        manifest_text(bucket(), usecase("one"), usecase("new", bucketRef={"name": "x"}))
    )
    await found.reload()

    refused = await outcomes.next()
    assert [line.split(": there is")[0] for line in str(refused.error).splitlines()] == [
        "Usecase default/one: BucketNotFound",
        "Usecase default/two: BucketNotFound",
    ]
    assert await outcomes.next_names() == {"one"}


async def test_cancelling_ends_a_watch_at_work(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(dump(config("one")))
    found = await watched(path, Outcomes())

    task = asyncio.create_task(found.run())
    await found.reload()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_difference_is_told_in_signed_names() -> None:
    before = config("kept", "gone", "changed")
    manifests = parsed(bucket(), usecase("kept"), usecase("changed", suspend="All"), usecase("new"))

    after = render(manifests.buckets, manifests.usecases)[0]

    assert difference(before, after) == "usecases +new -gone ~changed"
    assert difference(NOTHING.config, config("one")) == "usecases +one buckets +default/main"


async def test_what_a_cluster_would_not_let_change_holds_the_change_back(tmp_path: Path) -> None:
    """A usecase that moves to another bucket would lose sight of its objects."""
    outcomes, path = Outcomes(), tmp_path / "a.yaml"
    path.write_bytes(manifest_text(bucket(), bucket("other"), usecase("one")))
    found = await watched(path, outcomes)

    path.write_bytes(
        manifest_text(bucket(), bucket("other"), usecase("one", bucketRef={"name": "other"}))
    )
    await found.reload()

    assert found.current.usecases["one"].bucket == "default/main"
    assert "bucketRef is immutable" in str((await outcomes.next()).error)


def test_a_secret_and_a_config_map_of_one_name_lose_no_keys_to_each_other(tmp_path: Path) -> None:
    metadata, path = {"name": "shop-tls"}, tmp_path / "a.yaml"
    of_v1 = {"apiVersion": "v1", "metadata": metadata}
    bundle = of_v1 | {"kind": "ConfigMap", "data": {"ca.crt": "CA", "both": "map"}}
    secret = of_v1 | {"kind": "Secret", "stringData": {"tls.key": "KEY", "both": "secret"}}
    path.write_bytes(manifest_text(bundle, secret, bucket(), usecase()))
    source = ManifestSource(path)

    found = source.parse(source.read(), NOTHING)

    assert found.contents == {
        "default/shop-tls": {"ca.crt": b"CA", "tls.key": b"KEY", "both": b"secret"}
    }


async def test_what_is_renewed_in_a_secret_alone_counts_and_changes_nothing_else(
    tmp_path: Path,
) -> None:
    def manifests(key: str) -> bytes:
        of_v1 = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}}
        return manifest_text(of_v1 | {"stringData": {"key": key}}, bucket(), usecase("one"))

    outcomes, path = Outcomes(), tmp_path / "a.yaml"
    path.write_bytes(manifests("old"))
    found = await watched(path, outcomes)
    before = found.current

    path.write_bytes(manifests("new"))
    await found.reload()

    assert found.contents == {"default/keys": {"key": b"new"}}
    assert found.current is before
    assert outcomes.told.empty()


async def test_what_a_refused_change_brings_along_is_not_in_force(tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}}
    outcomes, path = Outcomes(), tmp_path / "a.yaml"
    path.write_bytes(manifest_text(bucket(), usecase("one")))
    found = await watched(path, outcomes)

    path.write_bytes(manifest_text(secret | {"stringData": {"key": "new"}}, usecase("one")))
    await found.reload()

    assert "there is no Bucket" in str((await outcomes.next()).error)
    assert found.contents == {}
