"""The gateway in this process: which stores it holds open, and whose work waits for whose."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count, repeat
from pathlib import Path
from threading import Event

import pytest
import yaml

from pannier_gateway import app, backing
from pannier_gateway.app import CODEC_THREADS, Gateway
from pannier_gateway.backing import folder_of
from pannier_gateway.backoff import Backoff
from pannier_gateway.codec import compress_small
from pannier_gateway.config.model import BucketConfig
from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.serve import data
from pannier_gateway.settings import Settings, parse_settings
from pannier_gateway.stores.file import place as places
from pannier_gateway.threads import in_thread
from support.manifests import Json, bucket, usecase
from support.wire import Answer, Wire, exchange, head

LEVEL_19 = {"compression": "Zstd", "compressionLevel": 19}
TOO_LONG = 30  # seconds: what is waited for will not come
UPLOADS = CODEC_THREADS + 1
LARGE = bytes(range(256)) * 1024


@dataclass(frozen=True)
class Place:
    """A gateway, where it serves, and the files that it follows and keeps."""

    gateway: Gateway
    url: str
    manifests: Path
    data_dir: Path
    clients: Executor
    marks: Iterator[int] = field(default_factory=count)

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        asking = partial(exchange, self.url, method, f"/v1/objects/{path}", body=body)
        return await in_thread(self.clients, asking)

    async def answers(self, status: int, path: str) -> Answer:
        """Ask for an object until that is the answer."""
        while (answer := await self.ask("GET", path)).status != status:
            pass
        return answer

    async def follow(self, *manifests: Json) -> None:
        """Change the configuration, and wait until it is obeyed."""
        mark = f"mark-{next(self.marks)}"
        write(self.manifests, *manifests, usecase(mark))
        while (await self.ask("GET", f"{mark}/_/")).status != 200:
            pass

    def descriptors(self, name: str) -> int:
        """How many files of that bucket's directory this process has open."""
        root = f"{self.data_dir}/default/{name}/"
        return sum(link.startswith(root) for link in open_files())


def open_files() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(link.readlink())


def write(path: Path, *manifests: Json) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump_all(manifests))
    draft.replace(path)


@asynccontextmanager
async def gateway_in(
    root: Path, *manifests: Json, more: Iterable[str] = ()
) -> AsyncIterator[Place]:
    path, data_dir = root / "manifests.yaml", root / "data"
    write(path, *manifests)
    arguments = ["--manifests", str(path), "--data-dir", str(data_dir), "--listen", "127.0.0.1:0"]
    settings = parse_settings([*arguments, *more], {})
    with ThreadPoolExecutor(UPLOADS + 1) as clients:
        async with Gateway.run(settings) as gateway, data(settings, gateway) as url:
            async with asyncio.timeout(TOO_LONG):
                await until(watching)
                yield Place(gateway, url, path, data_dir, clients)


async def until(true: Callable[[], bool]) -> None:
    for _ in repeat(None):
        if true():
            return
        await asyncio.sleep(0)


def watching() -> bool:
    """Whether the kernel tells of changes already: one before that waits for a slow poll."""
    for descriptor in Path("/proc/self/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if "inotify wd:" in descriptor.read_text():
                return True
    return False


MAIN = (bucket("main"), usecase("first"))
SPARE = (bucket("spare"), usecase("second", bucketRef={"name": "spare"}))


def committers() -> int:
    return sum(thread.name == "pannier-commit" for thread in threading.enumerate())


async def test_the_size_of_the_spool_is_obeyed(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, *MAIN, more=["--spool-size", "8Mi"]) as place:
        shared = place.gateway._backing._shared

        assert shared.spool.limits.disk == shared.parts.limits.disk == 2 << 20


# Which stores are open


async def test_a_bucket_that_is_no_longer_declared_leaves_nothing_open(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        assert (await place.ask("PUT", "second/_/k", LARGE)).status == 200
        assert place.descriptors("spare") > 0
        assert committers() == 2

        await place.follow(*MAIN)
        await until(lambda: place.descriptors("spare") == 0)

        assert committers() == 1
        assert (await place.ask("PUT", "first/_/k", b"x")).status == 200


async def test_a_bucket_that_is_declared_again_has_what_it_had(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        await place.ask("PUT", "second/_/k", LARGE)
        await place.follow(*MAIN)
        await place.follow(*MAIN, *SPARE)

        assert (await place.ask("GET", "second/_/k")).body == LARGE


async def test_what_is_written_after_a_directory_was_deleted_and_declared_anew_is_kept(
    tmp_path: Path,
) -> None:
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        await place.ask("PUT", "second/_/old", b"x")
        await place.follow(*MAIN)
        shutil.rmtree(place.data_dir / "default" / "spare", ignore_errors=True)  # being closed
        await place.follow(*MAIN, *SPARE)

        assert (await place.ask("GET", "second/_/old")).status == 404
        assert (await place.ask("PUT", "second/_/new", LARGE)).status == 200

    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        assert (await place.ask("GET", "second/_/new")).body == LARGE


async def test_a_directory_deleted_under_a_declared_bucket_takes_no_writes(tmp_path: Path) -> None:
    async with gateway_in(tmp_path, *MAIN) as place:
        await place.ask("PUT", "first/_/old", b"x")
        shutil.rmtree(place.data_dir / "default" / "main")

        for body in (b"small", LARGE):
            refused = await place.ask("PUT", "first/_/new", body)
            assert refused.status == 503
            assert str(tmp_path).encode() not in refused.body


async def test_a_request_in_flight_keeps_the_store_of_a_bucket_that_has_gone(
    tmp_path: Path,
) -> None:
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        with Wire(place.url) as wire:
            wire.send(head("PUT", "/v1/objects/second/_/k", {"content-length": "5"}) + b"by")
            await until(lambda: place.gateway.drain.in_flight == 1)
            await place.follow(*MAIN)
            assert place.descriptors("spare") > 0
            wire.send(b"tes")

            assert (await asyncio.to_thread(wire.answer)).status == 200
        await until(lambda: place.descriptors("spare") == 0)
        await place.follow(*MAIN, *SPARE)
        assert (await place.ask("GET", "second/_/k")).body == b"bytes"


async def test_a_bucket_declared_anew_elsewhere_closes_its_files_and_may_come_back(
    tmp_path: Path,
) -> None:
    elsewhere = bucket("spare", type="Upstream", upstream={}, endpoints=["https://hub.example.com"])
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        await place.ask("PUT", "second/_/k", b"x")

        await place.follow(*MAIN)  # a type can't be changed in place
        await place.follow(*MAIN, elsewhere, SPARE[1])
        await until(lambda: place.descriptors("spare") == 0)
        assert "files in" not in place.gateway.in_force.stores["default/spare"].by

        await place.follow(*MAIN)
        await place.follow(*MAIN, *SPARE)
        assert (await place.ask("GET", "second/_/k")).body == b"x"
        assert "files in" in place.gateway.in_force.stores["default/spare"].by


# Buckets that can't be opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits seconds for another try."""
    monkeypatch.setattr(app, "REOPENING", Backoff(0.01, 0.01))


def in_the_way(root: Path, name: str) -> Path:
    """A file where the folder of that bucket should be."""
    file = root / "data" / "default" / name
    file.parent.mkdir(parents=True)
    file.write_text("in the way")
    return file


def up(gateway: Gateway, name: str) -> float | None:
    return gateway.registry.get_sample_value("pannier_bucket_up", {"bucket": f"default/{name}"})


@pytest.mark.parametrize("kind", ["S3", "Upstream"])
async def test_a_bucket_at_no_port_costs_only_its_own_usecases(tmp_path: Path, kind: str) -> None:
    at = {"type": kind, "endpoints": ["https://nowhere:65536"]}
    s3 = {"s3": {"bucket": "abc", "region": "x"}} if kind == "S3" else {}
    usecases = usecase("first"), usecase("second", bucketRef={"name": "spare"})
    async with gateway_in(
        tmp_path, bucket("main"), bucket("spare", **at, **s3), *usecases
    ) as place:
        assert (await place.ask("PUT", "first/_/k", b"x")).status == 200
        refused = await place.ask("PUT", "second/_/k", b"x")

    assert refused.status == 503
    assert "'https://nowhere:65536' is no URL: Port out of range" in refused.detail


@pytest.mark.usefixtures("impatient")
async def test_a_bucket_that_can_not_be_opened_costs_only_its_own_usecases_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pannier.store")
    file = in_the_way(tmp_path, "spare")
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        assert (await place.ask("PUT", "first/_/k", b"x")).status == 200
        refused = await place.ask("PUT", "second/_/k", b"x")
        assert refused.status == 503
        assert "--data-dir/default/spare can't be used: File exists" in refused.detail
        assert str(tmp_path) not in refused.detail
        assert f"{file} can't be used" in place.gateway.in_force.stores["default/spare"].by
        assert [up(place.gateway, name) for name in ("main", "spare")] == [1, 0]

        file.unlink()
        await place.answers(404, "second/_/k")
        assert (await place.ask("PUT", "second/_/k", b"x")).status == 200
        assert up(place.gateway, "spare") == 1

    told = [each for each in caplog.messages if each.startswith("bucket")]
    assert told == ["bucket not served", "bucket served again"]


@pytest.mark.usefixtures("impatient")
async def test_what_is_tried_again_in_vain_leaves_what_is_served_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def noted(bucket: BucketConfig, settings: Settings) -> Path:
        tried.append(bucket.name)
        return folder_of(bucket, settings)

    in_the_way(tmp_path, "spare")
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        served = place.gateway._catalog
        monkeypatch.setattr(backing, "folder_of", noted)
        await until(lambda: tried.count("spare") > 2)

        assert place.gateway._catalog is served
        assert committers() == 1


async def test_where_no_bucket_can_be_opened_for_the_data_directory_it_does_not_start(
    tmp_path: Path,
) -> None:
    file = in_the_way(tmp_path, "main")

    with pytest.raises(StoreUnavailable, match=f"{file} can't be used: File exists"):
        async with gateway_in(tmp_path, *MAIN):
            pass


@pytest.mark.usefixtures("impatient")
async def test_a_claim_that_is_mounted_late_is_served_then(tmp_path: Path) -> None:
    claimed = bucket("main", filesystem={"claimName": "disk"})
    claims = tmp_path / "claims"
    async with gateway_in(tmp_path, claimed, MAIN[1], more=["--claims-dir", str(claims)]) as place:
        refused = await place.ask("GET", "first/_/k")
        assert refused.status == 503
        assert "claim disk is not mounted at --claims-dir/disk" in refused.detail

        (claims / "disk").mkdir(parents=True)
        await place.answers(404, "first/_/k")


async def test_a_lost_bucket_says_so_through_changes_and_is_served_when_its_files_are_back(
    tmp_path: Path,
) -> None:
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        await place.ask("PUT", "second/_/k", b"x")
        folder = place.data_dir / "default" / "spare"
        folder.rename(tmp_path / "away")
        await place.answers(503, "second/_/k")

        await place.follow(*MAIN, *SPARE)
        refused = await place.ask("GET", "second/_/k")
        assert refused.status == 503
        assert "replaced or removed while it was in use" in refused.detail
        assert "lost" in place.gateway.in_force.stores["default/spare"].by
        assert up(place.gateway, "spare") == 0
        assert not folder.exists()

        (tmp_path / "away").rename(folder)
        assert (await place.answers(200, "second/_/k")).body == b"x"
        assert up(place.gateway, "spare") == 1


@pytest.mark.usefixtures("impatient")
async def test_a_bucket_restored_under_a_running_gateway_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "REST_SECONDS", 0)
    folder, backup = tmp_path / "data" / "default" / "spare", tmp_path / "backup"
    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        await place.ask("PUT", "second/_/k", b"before")
    shutil.copytree(folder, backup)

    async with gateway_in(tmp_path, *MAIN, *SPARE) as place:
        await place.ask("PUT", "second/_/k", b"after")
        folder.rename(tmp_path / "old")
        backup.rename(folder)
        while (await place.ask("GET", "second/_/k")).body != b"before":
            pass

        assert (await place.ask("PUT", "second/_/new", b"x")).status == 200
        assert up(place.gateway, "spare") == 1
        assert committers() == 2


# Whose work waits for whose


async def test_uploads_that_take_long_to_compress_keep_no_list_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for level 19, which takes as long as it is told to."""
    go_on = Event()

    def compress_slowly(body: bytes, level: int) -> bytes:
        assert go_on.wait(30)
        return compress_small(body, level)

    monkeypatch.setattr("pannier_gateway.uploads.compress_small", compress_slowly)
    manifests = (bucket("main"), usecase("first", defaults=LEVEL_19))
    async with gateway_in(tmp_path, *manifests) as place:
        put = partial(place.ask, "PUT", body=b"text " * 4000)
        uploading = [asyncio.create_task(put(f"first/_/{i}")) for i in range(UPLOADS)]
        await until(lambda: place.gateway.drain.in_flight == len(uploading))

        assert (await place.ask("GET", "first/_/")).status == 200
        assert not any(each.done() for each in uploading)
        go_on.set()
        assert {answer.status for answer in await asyncio.gather(*uploading)} == {200}
