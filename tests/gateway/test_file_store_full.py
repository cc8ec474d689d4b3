"""A disk that is full: writes get 507, nothing is lost, and room made is room to write again."""

import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.gateway import Gateway, running_gateway
from support.small_disk import NoSmallDisk, python_on
from support.wire import Answer, CutOff, Wire, head

KIB, MIB = 1024, 1024 * 1024
NOISE = random.Random(8650).randbytes(9 * MIB)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class FullDisk:
    """A gateway on a disk of 64 MiB, 32 of which it keeps back."""

    gateway: Gateway
    wire: Wire
    data_dir: Path

    def ask(self, method: str, key: str, body: bytes | None = None) -> Answer:
        return self.wire.ask(method, f"/v1/objects/media/_/{key}", body=body)

    def put(self, key: str, size: int) -> int:
        return self.ask("PUT", key, body_of(key, size)).status

    def fill(self, size: int) -> list[str]:
        """Put objects of that size until the disk is full; those that were stored."""
        keys: list[str] = []
        while self.put(key := f"{size}/{len(keys):04d}", size) == 200:
            keys.append(key)
        return keys

    def body_files(self) -> int:
        """How many there are, as the gateway's process sees the disk."""
        root = Path(f"/proc/{self.gateway.process.pid}/root") / self.data_dir.relative_to("/")
        return sum(path.is_file() for path in root.rglob("bodies/*/*"))


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    data_dir = tmp_path / "disk"
    try:
        python = python_on(data_dir, "64m")
    except NoSmallDisk as reason:
        pytest.skip(f"no small disk to be had here: {reason}")
    monkeypatch.setattr(sys, "executable", str(python))  # what `running_gateway` starts
    with running_gateway(data_dir) as gateway, Wire(gateway.url) as wire:
        yield FullDisk(gateway, wire, data_dir)
    assert "Traceback" not in gateway.log.read_text()


def body_of(key: str, size: int) -> bytes:
    """Bytes that no other key has."""
    return (key.encode() + NOISE)[:size]


def test_a_write_to_a_full_disk_is_refused_with_507_and_what_to_do(full_disk: FullDisk) -> None:
    full_disk.fill(MIB)
    full_disk.fill(60 * KIB)

    for size in (0, 1, 60 * KIB, 3 * MIB):
        answer = full_disk.ask("PUT", "one-more", body_of("one-more", size))
        assert answer.status == 507
        assert "full: delete objects or give it more room" in answer.detail
    assert full_disk.ask("GET", "one-more").status == 404
    assert full_disk.wire.ask("GET", "/health").status == 200


@pytest.mark.parametrize("size", [60 * KIB, MIB], ids=["in the index", "in files"])
def test_a_full_disk_loses_nothing_and_deletes_make_room(full_disk: FullDisk, size: int) -> None:
    keys = full_disk.fill(size)
    assert len(keys) > 15

    assert [key for key in keys if full_disk.ask("GET", key).body != body_of(key, size)] == []
    assert full_disk.body_files() == (len(keys) if size == MIB else 0)
    gone, left = keys[::2], keys[1::2]
    assert {full_disk.ask("DELETE", key).status for key in gone} == {204}
    assert {full_disk.put(key, size) for key in gone[:-4]} == {200}
    assert [key for key in left if full_disk.ask("GET", key).body != body_of(key, size)] == []


@pytest.mark.parametrize("size", [60 * KIB, MIB], ids=["in the index", "in files"])
def test_room_that_one_kind_of_object_took_is_there_for_the_other(
    full_disk: FullDisk, size: int
) -> None:
    for key in full_disk.fill(size):
        assert full_disk.ask("DELETE", key).status == 204

    assert full_disk.put("large", 9 * MIB) == 200
    assert {full_disk.put(f"small/{i}", 60 * KIB) for i in range(100)} == {200}
    assert full_disk.ask("GET", "large").body == body_of("large", 9 * MIB)


def test_an_object_on_a_full_disk_can_not_be_replaced_and_stays(full_disk: FullDisk) -> None:
    keys = full_disk.fill(MIB)
    full_disk.fill(60 * KIB)

    assert full_disk.put(keys[0], 60 * KIB) == 507
    assert full_disk.put(keys[0], 2 * MIB) == 507

    assert full_disk.ask("GET", keys[0]).body == body_of(keys[0], MIB)


def test_a_body_that_outgrows_the_disk_leaves_nothing_of_itself(full_disk: FullDisk) -> None:
    assert full_disk.put("before", MIB) == 200
    pieces, size = 25, len(NOISE)

    with Wire(full_disk.gateway.url) as wire:
        length = {"content-length": str(pieces * size)}
        wire.send(head("PUT", "/v1/objects/media/_/too-large", length))
        with suppress(ConnectionError):  # the gateway need not take all of it
            for _ in range(pieces):
                wire.send(NOISE)
        with suppress(CutOff):  # nor need the answer outrun the end of the connection
            assert wire.answer().status == 507

    assert full_disk.body_files() == 1
    assert full_disk.ask("GET", "too-large").status == 404
    assert full_disk.put("small", 60 * KIB) == 200
    assert full_disk.put("large", 9 * MIB) == 200
