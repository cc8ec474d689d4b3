"""A network that breaks: mixed work through the gateway, and straight to the store with the retries
that its clients have of their own.

Every connection is reset after a random number of bytes, and pieces stall for a second. Each user
has keys of their own, and knows what has to be there: errors and wrong bytes are counted. A client
that gets an error goes on; what its object is from then on is one of two.
"""

import asyncio
import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

import boto3  # type: ignore[import-untyped]
import obstore
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from obstore.store import S3Store

from bench.settings import KIB, MIB, Settings

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from pannier import Client, NotFound  # noqa: E402
from support.engines import KEYS, REGION, Engine, make_bucket, versitygw  # noqa: E402
from support.faultproxy import FaultProxy, Trouble  # noqa: E402
from support.gateway import running_gateway  # noqa: E402

OPERATIONS, QUICK_OPERATIONS = 100_000, 1_000
USERS = 8
KEYS_EACH = 16
SIZES = (KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB)
SHARES = (600, 300, 85, 14, 1)
TROUBLE = Trouble(resets=1.0, within=64 * MIB, stalls=0.001, stall_seconds=1.0)
NOISE = random.Random(8650).randbytes(80 * MIB)
AIM = 0.1  # of what the same work takes without the gateway, at p99.9


class Missing(Exception):
    """There is no such object."""


class Store(Protocol):
    """What a user asks, whichever client it takes."""

    def put(self, key: str, body: bytes) -> None: ...

    def get(self, key: str) -> bytes:
        """Raises Missing."""
        ...


@dataclass
class Tally:
    """What became of the operations of one contender."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    wrong: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        seconds = self.seconds + other.seconds
        return Tally(seconds, self.errors + other.errors, self.wrong + other.wrong)

    def quantile(self, part: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Pannier:
    """Through a gateway, with the client that has no retries but of connecting."""

    def __init__(self, url: str) -> None:
        self._session = Client(url).session("attachments")

    def put(self, key: str, body: bytes) -> None:
        self._session.put(body, key)

    def get(self, key: str) -> bytes:
        try:
            return self._session.get(key).read()
        except NotFound as error:
            raise Missing from error


class Boto3:
    """Straight to the store, as boto3 is without being told anything."""

    def __init__(self, url: str) -> None:
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=KEYS.access_key,
            aws_secret_access_key=KEYS.secret_key,
        )

    def put(self, key: str, body: bytes) -> None:
        self._client.upload_fileobj(io.BytesIO(body), "objects", f"boto3/{key}")

    def get(self, key: str) -> bytes:
        try:
            answer = self._client.get_object(Bucket="objects", Key=f"boto3/{key}")
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                raise Missing from error
            raise
        return bytes(answer["Body"].read())


class Obstore:
    """Straight to the store, as obstore is without being told anything."""

    def __init__(self, url: str) -> None:
        self._store = S3Store(
            "objects",
            endpoint=url,
            region=REGION,
            access_key_id=KEYS.access_key,
            secret_access_key=KEYS.secret_key,
            client_options={"allow_http": True},
            prefix="obstore",
        )

    def put(self, key: str, body: bytes) -> None:
        obstore.put(self._store, key, body)

    def get(self, key: str) -> bytes:
        try:
            return obstore.get(self._store, key).bytes().to_bytes()
        except FileNotFoundError as error:
            raise Missing from error


class User:
    """Somebody who puts and gets objects, and looks whether they are what they should be."""

    def __init__(self, store: Store, number: int, seed: int) -> None:
        self.tally = Tally()
        self._store = store
        self._number = number
        self._dice = random.Random(f"{seed}/{number}")
        self._may_be: dict[str, list[bytes | None]] = {}

    def work(self, operations: int) -> Tally:
        for _ in range(operations):
            key = f"u{self._number}/k{self._dice.randrange(KEYS_EACH)}"
            act = (
                partial(self._put, key, self._body()) if self._writes() else partial(self._get, key)
            )
            began = time.perf_counter()
            try:
                act()
            except Exception as error:  # noqa: BLE001  # each is one, whatever the client calls it
                self.tally.errors += 1
                print(f"  {type(self._store).__name__}: {error!r:.160}", flush=True)
            self.tally.seconds.append(time.perf_counter() - began)
        return self.tally

    def _writes(self) -> bool:
        return self._dice.random() < 0.4

    def _body(self) -> bytes:
        size = self._dice.choices(SIZES, SHARES)[0]
        start = self._dice.randrange(len(NOISE) - size)
        return NOISE[start : start + size]

    def _put(self, key: str, body: bytes) -> None:
        before = self._may_be.get(key, [None])
        self._may_be[key] = [*before, body]  # until it is known
        self._store.put(key, body)
        self._may_be[key] = [body]

    def _get(self, key: str) -> None:
        try:
            body: bytes | None = self._store.get(key)
        except Missing:
            body = None
        self.tally.wrong += body not in self._may_be.get(key, [None])


class Contender(NamedTuple):
    name: str
    store: Callable[[str], Store]  # at this url
    through: Callable[[Path, str], AbstractContextManager[str]]  # where that is, for a store there


@contextmanager
def straight(_: Path, url: str) -> Iterator[str]:
    yield url


@contextmanager
def by_gateway(folder: Path, url: str) -> Iterator[str]:
    manifest = folder / "s3.yaml"
    text = (ROOT / "examples" / "s3.yaml").read_text().replace("http://127.0.0.1:7070", url)
    manifest.write_text(text.replace("compression: Zstd", "compression: None"))
    with running_gateway(folder / "data", manifests=manifest) as gateway:
        yield gateway.url


CONTENDERS = (
    Contender("gateway", Pannier, by_gateway),
    Contender("boto3", Boto3, straight),
    Contender("obstore", Obstore, straight),
)


def race(contender: Contender, engine: Engine, folder: Path, operations: int) -> Tally:
    """The same work for each, with faults from the same dice."""
    with breaking(engine) as url, contender.through(folder, url) as where:
        meet(contender.store(where))
        users = [User(contender.store(where), number, 8650) for number in range(USERS)]
        with ThreadPoolExecutor(USERS) as threads:
            work = [threads.submit(user.work, operations // USERS) for user in users]
            return sum((each.result() for each in work), Tally())


def meet(store: Store) -> None:
    """Let the gateway find out what the engine does, as it does once for each bucket."""
    with suppress(Missing):
        store.get("nothing")


@contextmanager
def breaking(engine: Engine) -> Iterator[str]:
    """The proxy, in a process of its own: the users' time is not its."""
    command = [sys.executable, "-m", "bench.faults", "proxy", str(engine.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


async def proxy(port: int) -> None:
    async with FaultProxy.run(port, TROUBLE, random.Random(8650)) as running:
        print(running.port, flush=True)
        await asyncio.Event().wait()


def report(name: str, tally: Tally, seconds: float) -> None:
    parts = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
    told = "  ".join(f"{label} {tally.quantile(part) * 1e3:,.1f} ms" for label, part in parts)
    lost = f"{tally.errors} errors  {tally.wrong} wrong"
    print(f"{name:<8} {len(tally.seconds):,} operations  {lost}  {told}  ({seconds:.0f} s)")


def main(settings: Settings) -> None:
    fallback = QUICK_OPERATIONS if settings.quick else OPERATIONS
    operations = int(os.environ.get("FAULTS_OPERATIONS", fallback))
    settings.scratch.mkdir(parents=True, exist_ok=True)
    last: dict[str, float] = {}
    for contender in CONTENDERS:
        with TemporaryDirectory(dir=settings.scratch) as home:
            folder = Path(home)
            with versitygw(folder / "engine") as engine:
                make_bucket(engine)
                began = time.monotonic()
                tally = race(contender, engine, folder, operations)
                report(contender.name, tally, time.monotonic() - began)
                last[contender.name] = tally.quantile(0.999)
    ratio = last["gateway"] / min(last["boto3"], last["obstore"])
    verdict = "reached" if ratio <= AIM else "MISSED"
    print(f"p99.9, gateway / the better of the others: {ratio:.2f} (aim {AIM}: {verdict})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["proxy"]:
        asyncio.run(proxy(int(sys.argv[2])))
    else:
        main(Settings.parse())
