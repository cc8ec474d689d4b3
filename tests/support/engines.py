"""Real S3 engines on loopback, each on a free port and ended by its process id."""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import boto3  # type: ignore[import-untyped]

from pannier_gateway.clock import Clock, system_clock
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.s3.bucket import Address, S3Bucket
from pannier_gateway.stores.s3.credentials import CredentialSource
from pannier_gateway.stores.s3.signing import Credentials, Signer
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.binaries import binary

KEYS = Credentials("AKIAPANNIERTESTING", "a/secret+key of the tests")
REGION = "us-east-1"
OWN = ".pannier/"
READY_SECONDS = 30
CALM = Patience(connect=20.0, first_byte=40.0, progress=40.0, free_connection=40.0)


class Engine(NamedTuple):
    """A running engine, and where it keeps its files."""

    name: str
    port: int
    folder: Path

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
)
S3S_FS = Traits(layout="marked")
"""What the probes find of them, so that not every test has to ask."""


class Given:
    """A key pair that is at hand."""

    def __init__(self, pair: Credentials = KEYS) -> None:
        self.pair = pair

    async def current(self) -> Credentials:
        return self.pair


@contextmanager
def versitygw(folder: Path) -> Iterator[Engine]:
    """A strict engine that keeps objects in files."""
    for each in ("data", "versions"):
        (folder / each).mkdir(parents=True)
    port = free_port()
    program = [str(binary("versitygw")), "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet"]
    options = ["--health", "/health", "--virtual-domain", f"s3.localhost:{port}"]
    backend = ["posix", "--versioning-dir", str(folder / "versions"), str(folder / "data")]
    root = {"ROOT_ACCESS_KEY": KEYS.access_key, "ROOT_SECRET_KEY": KEYS.secret_key}
    engine = Engine("versitygw", port, folder)
    with running([*program, *options, *backend], root, f"{engine.url}/health", folder / "log"):
        yield engine


@contextmanager
def s3s_fs(folder: Path) -> Iterator[Engine]:
    """A weak engine: several writers win under one condition, and what it refuses it may store."""
    (folder / "data").mkdir(parents=True)
    port = free_port()
    program = [str(binary("s3s-fs")), "--host", "127.0.0.1", "--port", str(port)]
    keys = ["--access-key", KEYS.access_key, "--secret-key", KEYS.secret_key]
    engine = Engine("s3s-fs", port, folder)
    with running([*program, *keys, str(folder / "data")], {}, engine.url, folder / "log"):
        yield engine


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], ready: str, log: Path
) -> Iterator[None]:
    """`command`, from when `ready` answers at all."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        until_ready(process, ready, log)
        yield
    finally:
        process.terminate()
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
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
    )


def pool_of(engine: Engine) -> Pool:
    return Pool(engine.endpoint)


def bucket_of(
    engine: Engine, name: str, pool: Pool, credentials: CredentialSource | None = None
) -> S3Bucket:
    address = Address("ns/n", name, f"127.0.0.1:{engine.port}", f"/{name}")
    return S3Bucket(address, pool, Signer(REGION), credentials or Given(), CALM)


def store_of(bucket: S3Bucket, traits: Traits, clock: Clock = system_clock) -> S3Store:
    async def known() -> Traits:
        return traits

    return S3Store(bucket, known, OWN, clock)
