"""Real S3 engines on loopback, each on a free port and ended by its process id."""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry

from pannier_gateway.clock import Clock, system_clock
from pannier_gateway.config.model import ResilienceConfig
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.provision import Provision
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.s3.bucket import Address, S3Bucket
from pannier_gateway.stores.s3.credentials import CredentialSource
from pannier_gateway.stores.s3.signing import Credentials, Signer
from pannier_gateway.stores.s3.store import Rules
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.absent import do_without
from support.binaries import NoCompiler, binary

KEYS = Credentials("AKIAPANNIERTESTING", "a/secret+key of the tests")
REGION = "us-east-1"
OWN = ".pannier/"
READY_SECONDS = 30
THREADS = ThreadPoolExecutor(1)  # begun where a test fills the memory for parts
CALM = Patience(connect=20.0, first_byte=40.0, progress=40.0, free_connection=40.0)


class Engine(NamedTuple):
    """A running engine, and where it keeps its files."""

    name: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    keys: Credentials = KEYS

    def kill(self) -> None:
        """End it the hard way."""
        self.process.kill()
        self.process.wait(timeout=20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)


Started = AbstractContextManager[Engine]

VERSITYGW = Traits(
    layout="marked",
    create=True,
    replace="quoted",
    complete=True,
    delete=True,
    verified=True,
    tags=True,
    tags_in_parts=True,
)
S3S_FS = Traits(layout="marked", longest_key=128)
"""What the probes find of them, so that not every test has to ask."""


class Given:
    """A key pair that is at hand."""

    def __init__(self, pair: Credentials = KEYS) -> None:
        self.pair = pair

    async def current(self) -> Credentials:
        return self.pair


class Known:
    """Traits that need not be found out."""

    def __init__(self, traits: Traits) -> None:
        self.traits: Traits | None = traits

    async def __call__(self) -> Traits:
        assert self.traits is not None
        return self.traits


@contextmanager
def versitygw(folder: Path, port: int | None = None) -> Iterator[Engine]:
    """A strict engine that keeps objects in files; where some are from before, these."""
    for each in ("data", "versions"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    port = free_port() if port is None else port
    program = [str(binary("versitygw")), "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet"]
    options = ["--health", "/health", "--virtual-domain", f"s3.localhost:{port}"]
    backend = ["posix", "--versioning-dir", str(folder / "versions"), str(folder / "data")]
    root = {"ROOT_ACCESS_KEY": KEYS.access_key, "ROOT_SECRET_KEY": KEYS.secret_key}
    command = [*program, *options, *backend]
    with running(command, root, f"http://127.0.0.1:{port}/health", folder / "log") as process:
        yield Engine("versitygw", port, folder, process)


@contextmanager
def s3s_fs(folder: Path) -> Iterator[Engine]:
    """A weak engine: several writers win under one condition, and what it refuses it may store."""
    program = crate("s3s-fs")
    (folder / "data").mkdir(parents=True)
    port = free_port()
    address = ["--host", "127.0.0.1", "--port", str(port)]
    keys = ["--access-key", KEYS.access_key, "--secret-key", KEYS.secret_key]
    command = [str(program), *address, *keys, str(folder / "data")]
    with running(command, {}, f"http://127.0.0.1:{port}", folder / "log") as process:
        yield Engine("s3s-fs", port, folder, process)


def crate(name: str) -> Path:
    """The program, built from a crate; the test that asks is skipped where there is no Rust."""
    try:
        return binary(name)
    except NoCompiler as reason:
        do_without(str(reason))


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], ready: str, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """`command`, from when `ready` answers at all."""
    with daemon(command, environment, log) as process:
        until_ready(process, ready, log)
        yield process


@contextmanager
def daemon(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """`command` for as long as the block lasts."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:  # a busy radosgw may hang at its end
            process.kill()
            process.wait(timeout=20)


def until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=5):
                return
        except HTTPError:
            return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise AssertionError(f"{url} did not come up: {log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def make_bucket(engine: Engine, name: str = "objects") -> str:
    client(engine).create_bucket(Bucket=name)
    return name


def unfinished_uploads(engine: Engine, bucket: str) -> set[int]:
    """What multipart uploads left behind."""
    if engine.name == "s3s-fs":  # it lists none, and keeps them in files that begin so
        return {hash(path.name) for path in (engine.folder / "data").glob(".upload*")}
    found = client(engine).list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return {hash(upload["UploadId"]) for upload in found}


def client(engine: Engine) -> Any:
    """Somebody else's client, to see what others see."""
    return boto3.client(
        "s3",
        endpoint_url=engine.url,
        region_name=REGION,
        aws_access_key_id=engine.keys.access_key,
        aws_secret_access_key=engine.keys.secret_key,
        config=Config(retries={"total_max_attempts": 10}),  # MinIO says too early that it is ready
    )


def pool_of(engine: Engine) -> Pool:
    return Pool(engine.endpoint)


def bucket_of(
    engine: Engine, name: str, pool: Pool, credentials: CredentialSource | None = None
) -> S3Bucket:
    entrance = Entrance(f"127.0.0.1:{engine.port}", pool)
    return bucket_at(entrance, name=name, credentials=credentials or Given(engine.keys))


def bucket_at(
    *entrances: Entrance, name: str = "b", credentials: CredentialSource | None = None
) -> S3Bucket:
    """A bucket that is asked at any of these, with path addressing."""
    among = provision().among({str(each.pool.endpoint): each for each in entrances})
    address = Address("ns/n", name, f"/{name}")
    return S3Bucket(address, among, Signer(REGION), credentials or Given(), CALM)


def provision(attempts: int = 1) -> Resilience:
    """What a driver is given: as many attempts for parts of an upload."""
    shared = Shared(ResilienceMetrics(CollectorRegistry()), lambda: 0.0, THREADS)
    resilience = Resilience("ns/n", shared)
    resilience.obey(ResilienceConfig(attempts=attempts))
    return resilience


def store_of(
    bucket: S3Bucket,
    traits: Traits,
    clock: Clock = system_clock,
    given: Provision | None = None,
) -> S3Store:
    return S3Store(bucket, Known(traits), Rules(OWN), given or provision(), clock)
