"""A network that breaks: mixed work through the gateway, and straight to the store with the retries
that its clients have of their own.

Of a hundred exchanges ten are reset at a random byte, and one stalls for a second. Each user has
keys of their own, knows what has to be there, and pauses between two operations: with both cores
full it is those that are measured. Errors and wrong bytes are counted; a client that gets an error
goes on, and what its object is from then on is one of two. Beforehand each does some of the work in
a calm: what an operation takes beyond that is what the faults cost. One operation in a thousand is
of 64 MiB, which alone takes about what p99.9 would be without any fault.
"""

import asyncio
import io
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

import boto3  # type: ignore[import-untyped]
import obstore
import uvloop
from awscrt.checksums import crc64nvme
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from obstore.store import S3Store

from bench.settings import KIB, MIB, Settings

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from pannier import Client, NotFound  # noqa: E402
from support import example  # noqa: E402
from support.engines import KEYS, REGION, Engine, make_bucket, versitygw  # noqa: E402
from support.faultproxy import FaultProxy, Hazard  # noqa: E402
from support.gateway import running_gateway  # noqa: E402

OPERATIONS, QUICK_OPERATIONS = 100_000, 1_000
USERS = 8
PAUSE_SECONDS = 0.05  # between two operations of a user, on average
KEYS_EACH = 512
SIZES = (KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB)
SHARES = (600, 300, 85, 14, 1)
STORM, CALM = Hazard(resets=0.1, stalls=0.01, stall_seconds=1.0), Hazard(0.0, 0.0, 0.0)
CALM_PART = 0.1  # of the operations
CALM_TIMES = 5  # that each size is put and got besides
NOISE = random.Random(8650).randbytes(80 * MIB)
ENOUGH = 1000  # samples, of which one is beyond p99.9
AIM = 0.1  # of what the same work takes without the gateway, at p99.9


class Missing(Exception):
    """There is no such object."""


class Store(Protocol):
    """What a user asks, whichever client it takes."""

    def put(self, key: str, body: bytes) -> None: ...

    def get(self, key: str) -> bytes:
        """Raises Missing."""
        ...


class Sample(NamedTuple):
    """One operation: `size` bytes put, or got (0: there was nothing), in so many seconds."""

    what: str
    size: int
    seconds: float

    @property
    def kind(self) -> tuple[int, str]:
        return self.size, self.what


@dataclass
class Tally:
    """What became of the operations of one contender."""

    samples: list[Sample] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)  # by their class
    wrong: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        samples = self.samples + other.samples
        return Tally(samples, self.errors + other.errors, self.wrong + other.wrong)

    def kinds(self) -> dict[tuple[int, str], list[float]]:
        """The seconds of operations of each kind."""
        ordered = groupby(sorted(self.samples), key=lambda sample: sample.kind)
        return {kind: [each.seconds for each in samples] for kind, samples in ordered}

    def beyond(self, calm: "Tally") -> list[float]:
        """Seconds that operations took beyond the median of their kind in a calm."""
        usual = {kind: quantile(seconds, 0.5) for kind, seconds in calm.kinds().items()}
        return [max(0.0, each.seconds - usual.get(each.kind, 0.0)) for each in self.samples]


def quantile(values: Iterable[float], part: float) -> float:
    ordered = sorted(values)
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
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
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


class Body(NamedTuple):
    """What is remembered of one."""

    size: int
    checksum: int

    @classmethod
    def of(cls, body: bytes) -> "Body":
        return cls(len(body), int(crc64nvme(body)))


NOTHING = Body(0, 0)


class User:
    """Somebody who puts and gets objects, and looks whether they are what they should be."""

    def __init__(self, store: Store, name: str) -> None:
        self.tally = Tally()
        self._store = store
        self._name = name
        self._dice = random.Random(name)
        self._may_be: dict[str, list[Body]] = {}

    def work(self, operations: int) -> Tally:
        for _ in range(operations):
            time.sleep(self._dice.expovariate(1 / PAUSE_SECONDS))
            key = f"{self._name}/k{self._dice.randrange(KEYS_EACH)}"
            if self._dice.random() < 0.4:
                self._timed("put", key, partial(self._put, key, self._body()))
            else:
                self._timed("get", key, partial(self._get, key))
        return self.tally

    def try_each_size(self, times: int) -> Tally:
        """Of the largest there are too few among some hundred operations to tell what is usual."""
        for size in SIZES * times:
            key = f"{self._name}/{size}"
            self._timed("put", key, partial(self._put, key, NOISE[:size]))
            self._timed("get", key, partial(self._get, key))
        return self.tally

    def _timed(self, what: str, key: str, act: Callable[[], None]) -> None:
        began = time.perf_counter()
        try:
            act()
        except Exception as error:  # noqa: BLE001  # each is one, whatever the client calls it
            self.tally.errors[type(error).__name__] += 1
        seconds = time.perf_counter() - began
        self.tally.samples.append(Sample(what, self._may_be.get(key, [NOTHING])[-1].size, seconds))

    def _body(self) -> bytes:
        size = self._dice.choices(SIZES, SHARES)[0]
        start = self._dice.randrange(len(NOISE) - size)
        return NOISE[start : start + size]

    def _put(self, key: str, body: bytes) -> None:
        before = self._may_be.get(key, [NOTHING])
        self._may_be[key] = [*before, Body.of(body)]  # until it is known
        self._store.put(key, body)
        self._may_be[key] = [Body.of(body)]

    def _get(self, key: str) -> None:
        try:
            body = Body.of(self._store.get(key))
        except Missing:
            body = NOTHING
        self.tally.wrong += body not in self._may_be.get(key, [NOTHING])


class Contender(NamedTuple):
    name: str
    store: Callable[[str], Store]  # at this url
    through: Callable[[Path, str], AbstractContextManager[str]]  # where that is, for a store there


@contextmanager
def straight(_: Path, url: str) -> Iterator[str]:
    yield url


ALONE = "resilience: {hedging: Enabled}  # nobody else writes these keys"


@contextmanager
def by_gateway(folder: Path, url: str) -> Iterator[str]:
    manifest = folder / "s3.yaml"
    text = example.plain(url).replace("compression: Zstd", "compression: None")
    manifest.write_text(text.replace("type: S3\n", f"type: S3\n  {ALONE}\n"))
    with running_gateway(folder / "data", manifests=manifest) as gateway:
        meet(Pannier(gateway.url))
        yield gateway.url


CONTENDERS = (
    Contender("gateway", Pannier, by_gateway),
    Contender("boto3", Boto3, straight),
    Contender("obstore", Obstore, straight),
)


class Course(NamedTuple):
    """What a contender did in a calm, and in the storm."""

    calm: Tally
    storm: Tally


def race(contender: Contender, engine: Engine, folder: Path, operations: int) -> Course:
    """The same work for each, with faults from the same dice."""
    few = max(USERS, int(operations * CALM_PART))
    calm = done(contender, engine, folder / "calm", few, CALM)
    return Course(calm, done(contender, engine, folder / "storm", operations, STORM))


def done(
    contender: Contender, engine: Engine, folder: Path, operations: int, hazard: Hazard
) -> Tally:
    folder.mkdir()
    with breaking(engine, hazard) as url, contender.through(folder, url) as where:
        users = [User(contender.store(where), f"{folder.name}{n}") for n in range(USERS)]
        with ThreadPoolExecutor(USERS + 1) as threads:
            work = [threads.submit(user.work, operations // USERS) for user in users]
            if hazard == CALM:
                one_more = User(contender.store(where), f"{folder.name}-each")
                work.append(threads.submit(one_more.try_each_size, CALM_TIMES))
            return sum((each.result() for each in work), Tally())


def meet(store: Pannier) -> None:
    """Let the gateway find out what the engine does, as it does once for each bucket."""
    with suppress(Missing):
        store.get("nothing")


@contextmanager
def breaking(engine: Engine, hazard: Hazard) -> Iterator[str]:
    """The proxy, in a process of its own: the users' time is not its."""
    command = [sys.executable, "-m", "bench.faults", "proxy", str(engine.port), *map(str, hazard)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


async def proxy(port: int, hazard: Hazard) -> None:
    async with FaultProxy.run(port, hazard, random.Random(8650)) as running:
        print(running.port, flush=True)
        await asyncio.Event().wait()


def told(seconds: Sequence[float]) -> str:
    parts = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
    return "  ".join(f"{label} {quantile(seconds, part) * 1e3:9,.1f}" for label, part in parts)


def report(name: str, course: Course, seconds: float) -> None:
    """Milliseconds, of all operations and of each kind; `calm` is that kind's median without."""
    storm, usual = course.storm, course.calm.kinds()
    lost = f"errors: {storm.errors.total():,}  wrong: {storm.wrong:,}"
    print(f"{name}: {len(storm.samples):,} operations  {lost}  ({seconds:.0f} s)")
    for error, times in storm.errors.most_common():
        print(f"  {error}: {times:,}")
    print(f"  {'all':<15} {len(storm.samples):>7,}  {told([s.seconds for s in storm.samples])}")
    print(f"  {'beyond a calm':<15} {'':>7}  {told(storm.beyond(course.calm))}")
    for (size, what), each in storm.kinds().items():
        calm = quantile(usual.get((size, what), [nan]), 0.5) * 1e3
        kind = f"{what} {size // KIB} KiB" if size else f"{what} nothing"
        print(f"  {kind:<15} {len(each):>7,}  {told(each)}  calm {calm:,.1f}", flush=True)


def main(settings: Settings) -> None:
    fallback = QUICK_OPERATIONS if settings.quick else OPERATIONS
    operations = int(os.environ.get("FAULTS_OPERATIONS", fallback))
    settings.scratch.mkdir(parents=True, exist_ok=True)
    courses: dict[str, Course] = {}
    for contender in CONTENDERS:
        with TemporaryDirectory(dir=settings.scratch) as home:
            folder = Path(home)
            with versitygw(folder / "engine") as engine:
                make_bucket(engine)
                began = time.monotonic()
                course = race(contender, engine, folder, operations)
                report(contender.name, course, time.monotonic() - began)
                courses[contender.name] = course
    judge(courses)


def judge(courses: Mapping[str, Course]) -> None:
    """The gateway's p99.9 beside the better of the others', by each way to look at it."""
    ours, *others = (courses[each.name] for each in CONTENDERS)
    views: dict[str, Callable[[Course], Sequence[float]]] = {
        "all": lambda course: [each.seconds for each in course.storm.samples],
        "beyond a calm": lambda course: course.storm.beyond(course.calm),
        **{f"{size // KIB} KiB": partial(of_size, size) for size in SIZES},
    }
    print("p99.9, gateway / the better of the others:")
    for name, view in views.items():
        if all(len(view(each)) >= ENOUGH for each in (ours, *others)):
            mine, *theirs = (quantile(view(each), 0.999) for each in (ours, *others))
            ratio = mine / min(theirs)
            print(f"  {name}: {ratio:.2f} (aim {AIM}: {'reached' if ratio <= AIM else 'MISSED'})")


def of_size(size: int, course: Course) -> Sequence[float]:
    return [each.seconds for each in course.storm.samples if each.size == size]


if __name__ == "__main__":
    if sys.argv[1:2] == ["proxy"]:
        uvloop.run(proxy(int(sys.argv[2]), Hazard(*map(float, sys.argv[3:]))))
    else:
        main(Settings.parse())
