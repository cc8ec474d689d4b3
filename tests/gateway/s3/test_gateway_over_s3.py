"""A gateway in front of a real engine, from the example's manifest alone."""

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from urllib.request import urlopen

import pytest
from zstandard import ZstdDecompressor

from pannier import Client, NotFound
from pannier_gateway.upstream.connection import Patience
from support import example
from support.engines import KEYS, Engine, client, make_bucket, versitygw
from support.gateway import Gateway, running_gateway
from support.scripted import Peer, answer, serving
from support.wire import Answer, Wire, head

NOISE = bytes(range(256)) * 50_000
MOST = 128 << 20  # bytes resident at the peak, libraries and all

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with versitygw(tmp_path_factory.mktemp("engine")) as running:
        make_bucket(running)
        yield running


def manifest(folder: Path, url: str, *, secret: str = "a/secret+key of the tests") -> Path:
    """The example for a store at `url`."""
    file = folder / "s3.yaml"
    file.write_text(example.plain(url).replace("a/secret+key of the tests", secret))
    return file


@pytest.fixture
def gateway(engine: Engine, tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path / "data", manifests=manifest(tmp_path, engine.url)) as running:
        yield running


def configz(gateway: Gateway) -> str:
    with urlopen(f"{gateway.admin_url}/configz") as answer:
        return bytes(answer.read()).decode()


def test_objects_are_put_got_listed_and_deleted(gateway: Gateway, engine: Engine) -> None:
    with Client(gateway.url) as pannier:
        session = pannier.session("attachments", org=1)
        session.put(b"hello", "a//b", custom={"color": "red"})
        session.put([NOISE[:5_000_000], NOISE[5_000_000:]], "large")

        assert session.get("a//b").read() == b"hello"
        assert session.get("large").read() == NOISE
        session.delete("large")
        with pytest.raises(NotFound):
            session.get("large")

    stored = client(engine).list_objects_v2(Bucket="objects", Prefix="attachments/")["Contents"]
    assert [each["Key"] for each in stored] == ["attachments/org.1/objects/a/-/b!"]
    head = client(engine).head_object(Bucket="objects", Key=stored[0]["Key"])
    assert head["Metadata"]["color"] == "red"


def test_who_reads_the_bucket_without_us_finds_zstd_and_can_decode_it(
    gateway: Gateway, engine: Engine
) -> None:
    text = b"the same again and again " * 100_000
    with Client(gateway.url) as pannier:
        pannier.session("attachments", org=4).put(text, "k", content_type="text/plain")

    found = client(engine).get_object(Bucket="objects", Key="attachments/org.4/objects/k!")
    stored = found["Body"].read()

    assert (found["ContentEncoding"], found["ContentType"]) == ("zstd", "text/plain")
    assert len(stored) < len(text) // 10
    assert ZstdDecompressor().stream_reader(stored, read_across_frames=True).read() == text


def test_an_object_passes_through_in_no_more_memory_than_a_part_takes(gateway: Gateway) -> None:
    block, count = random.Random(8).randbytes(1 << 20), 224
    with Client(gateway.url) as pannier:
        session = pannier.session("media", org=5)
        session.put(repeat(block, count), "k")
        with session.get("k") as body:
            pieces = iter(partial(body.read, len(block)), b"")
            assert sum(piece == block for piece in pieces) == count

    assert gateway.resident_bytes("VmHWM") < MOST


def test_the_size_of_a_long_compressed_object_is_known_in_the_end(gateway: Gateway) -> None:
    """S3 takes what it keeps of an object before the body has told how long it was."""
    text = random.Random(7).randbytes(12_000_000).hex().encode()  # deflates by half
    with Client(gateway.url) as pannier:
        session = pannier.session("attachments", org=3)
        session.put([text[:9_000_000], text[9_000_000:]], "k")

        assert session.head("k").original_size == len(text)
        assert session.get("k").read() == text


def test_what_the_engine_does_is_shown_and_the_secret_is_not(gateway: Gateway) -> None:
    with Client(gateway.url) as pannier:
        pannier.session("attachments", org=2).put(b"x", "k")

    page = configz(gateway)
    promise = {"bucket": "default/store", "promise": "conditional create"}
    assert gateway.metric("pannier_store_promise", **promise) == 1
    assert gateway.metric("pannier_store_promise", promise="conditional copy") == 0

    assert "keys marked" in json.loads(page)["stores"]["default/store"]["by"]
    assert "a/secret" not in page


LOCAL = """
apiVersion: pannier.dev/v1alpha1
kind: Bucket
metadata: {name: folder, namespace: default}
spec: {type: Filesystem}
---
apiVersion: pannier.dev/v1alpha1
kind: Usecase
metadata: {name: local-files, namespace: default}
spec: {bucketRef: {name: folder}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "status", "said"),
    [
        ("a/secret+key of the tests", "wrong", 502, "check the Bucket's credentials"),
        ("AKIAPANNIERTESTING", "AKIAWRONG", 502, "check the Bucket's credentials"),
        ("bucket: objects", "bucket: elsewhere", 502, "no such bucket"),
        ("region: us-east-1", "region: eu-west-1", 502, "check s3.bucket, s3.region"),
        ("secretRef: {name: store-keys}", "secretRef: {name: lost}", 502, "no Secret"),
        ("http://127.0.0.1:", "https://127.0.0.1:", 502, "tls"),
        ("http://127.0.0.1:", "http://127.0.0.1:1", 503, "endpoints"),
    ],
)
def test_a_broken_bucket_says_what_to_check_and_stops_no_other(
    engine: Engine, tmp_path: Path, right: str, wrong: str, status: int, said: str
) -> None:
    file = manifest(tmp_path, engine.url)
    text = file.read_text()
    if wrong.endswith(":1"):  # a port where nobody listens
        right, wrong = engine.url, "http://127.0.0.1:9"
    file.write_text(text.replace(right, wrong))
    (tmp_path / "local.yaml").write_text(LOCAL)

    with (
        running_gateway(tmp_path / "data", manifests=tmp_path) as gateway,
        Wire(gateway.url) as wire,
    ):
        answer, took = asked(wire, 1 if status == 503 else 3)
        other = wire.ask("PUT", "/v1/objects/local-files/_/k", body=b"x")
        tries = gateway.metric("pannier_retries_total")

    assert status == 503 or took < 1
    assert bool(tries) is (status == 503)
    assert (answer.status, other.status) == (status, 200)
    assert said in answer.detail
    assert "default/" in answer.detail


def skewed(code: str = "RequestTimeTooSkewed") -> bytes:
    return answer("403 Forbidden", f"<Error><Code>{code}</Code></Error>".encode())


@pytest.mark.parametrize(
    ("script", "status", "said", "tried_again"),
    [
        (skewed(), 502, "the clocks differ", False),
        (skewed("AccessDenied"), 502, "the key pair may not do this", False),
        (answer("200 OK", b"<html>hello</html>"), 502, "engine.json can't be read", False),
        (answer("404 Not Found", b"<html>no such page</html>"), 502, "not how S3 answers", False),
        (b"220 mail.example ESMTP\r\n", 502, "does not answer as S3 does", False),
        (answer("500 Internal Server Error", b"<html>"), 503, "500", True),
        (answer("503 Busy", b"", "retry-after: 31"), 503, "is busy", True),
        (Peer.close, 503, "can't be reached", True),
        (Peer.wait_for_end, 504, "sent no answer in time", True),
    ],
)
def test_what_is_no_store_is_told_from_one_that_is_down(
    tmp_path: Path,
    script: bytes | Callable[[Peer], object],
    status: int,
    said: str,
    tried_again: bool,
) -> None:
    with serving(script) as server:
        file = manifest(tmp_path, server.url)
        limit = ", firstByteTimeout: 100ms" if status == 504 else ""  # else all answer, some late
        patience = f"  resilience: {{attempts: 2{limit}}}\n  s3:"
        file.write_text(file.read_text().replace("  s3:", patience, 1))
        with (
            running_gateway(tmp_path / "data", manifests=file) as gateway,
            Wire(gateway.url) as wire,
        ):
            told, took = asked(wire, 1 if tried_again else 3)
            tries = gateway.metric("pannier_retries_total")

    assert told.status == status
    assert said in told.detail
    assert f"Bucket default/store ('objects' at {server.url})" in told.detail
    assert bool(tries) is tried_again
    assert tried_again or took < 1


def asked(wire: Wire, often: int) -> tuple[Answer, float]:
    """The last of equal answers; how long the quickest took: others may have kept the machine."""
    times = []
    for _ in range(often):
        began = time.monotonic()
        answer = wire.ask("GET", "/v1/objects/attachments/_/k")
        times.append(time.monotonic() - began)
    return answer, min(times)


def test_a_store_that_does_not_answer_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    with serving(Peer.wait_for_end) as server:
        manifest(tmp_path, server.url)
        (tmp_path / "local.yaml").write_text(LOCAL)
        began = time.monotonic()
        with (
            running_gateway(tmp_path / "data", manifests=tmp_path) as gateway,
            Wire(gateway.url) as waiting,
            Wire(gateway.url) as wire,
        ):
            took = time.monotonic() - began
            waiting.send(head("GET", "/v1/objects/attachments/_/k"))
            while gateway.in_flight == 0:
                pass
            other = wire.ask("PUT", "/v1/objects/local-files/_/k", body=b"x")
            in_flight = gateway.in_flight

    assert took < Patience().first_byte
    assert (other.status, in_flight) == (200, 1)


def stalling(peer: Peer) -> None:
    peer.read_request()
    peer.send(answer("200 OK", b"body")[:-1])
    peer.wait_for_end()


@pytest.mark.parametrize(
    ("limit", "script", "said"),
    [
        ("firstByteTimeout", Peer.wait_for_end, "sent no answer in time"),
        ("progressTimeout", stalling, "moved no byte in time"),
        ("connectTimeout", None, "let nobody in within 0.1 s"),
    ],
)
def test_how_long_to_wait_is_changed_without_a_restart(
    tmp_path: Path, limit: str, script: Callable[[Peer], object] | None, said: str
) -> None:
    with nobody_in() if script is None else address_of(script) as url:
        file = manifest(tmp_path, url)
        text = file.read_text()

        def write(seconds: str) -> None:
            told = f"  resilience: {{attempts: 1, {limit}: {seconds}}}\n  s3:"
            file.write_text(text.replace("  s3:", told, 1))

        write("60s")
        with running_gateway(tmp_path / "data", manifests=file) as gateway:
            before = configz(gateway)
            write("100ms")
            while configz(gateway) == before:
                pass
            told = answered(gateway.url)

    assert told.status == 504
    assert said in told.detail


def answered(url: str) -> Answer:
    """The first answer that comes before a Wire loses its patience, as it does with 60 s."""
    while True:
        with Wire(url) as wire, suppress(TimeoutError):
            return wire.ask("GET", "/v1/objects/attachments/_/k")


@contextmanager
def address_of(script: Callable[[Peer], object]) -> Iterator[str]:
    with serving(script) as server:
        yield server.url


@contextmanager
def nobody_in() -> Iterator[str]:
    """Where somebody listens whom a crowd waits for already."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        yield "http://127.0.0.1:{1}".format(*full.getsockname())


def test_how_hard_to_try_is_changed_without_a_restart(tmp_path: Path) -> None:
    file = manifest(tmp_path, "http://127.0.0.1:9")  # where nobody listens
    text = file.read_text()

    def tries(wire: Wire, gateway: Gateway) -> float:
        before = gateway.metric("pannier_retries_total", outcome="failed")
        assert wire.ask("GET", "/v1/objects/attachments/_/k").status == 503
        return gateway.metric("pannier_retries_total", outcome="failed") - before

    file.write_text(text.replace("  s3:", "  resilience: {attempts: 3}\n  s3:", 1))
    with running_gateway(tmp_path / "data", manifests=file) as gateway, Wire(gateway.url) as wire:
        assert tries(wire, gateway) == 2
        file.write_text(text.replace("  s3:", "  resilience: {attempts: 1}\n  s3:", 1))
        deadline = time.monotonic() + 20
        while tries(wire, gateway) != 0:
            assert time.monotonic() < deadline
        assert gateway.metric("pannier_retry_budget_coins", bucket="default/store") > 0
        file.write_text(LOCAL)
        while gateway.samples("pannier_retry_budget_coins"):
            assert time.monotonic() < deadline


def test_renewed_keys_count_without_a_restart(engine: Engine, tmp_path: Path) -> None:
    file = manifest(tmp_path, engine.url, secret="wrong")
    with running_gateway(tmp_path / "data", manifests=file) as gateway, Wire(gateway.url) as wire:
        assert wire.ask("GET", "/v1/objects/attachments/_/k").status == 502

        manifest(tmp_path, engine.url)

        deadline = time.monotonic() + 20
        while wire.ask("GET", "/v1/objects/attachments/_/k").status != 404:
            assert time.monotonic() < deadline


def test_keys_are_taken_from_mounted_secrets(engine: Engine, tmp_path: Path) -> None:
    mounted = tmp_path / "secrets" / "store-keys"
    mounted.mkdir(parents=True)
    (mounted / "AWS_ACCESS_KEY_ID").write_text(KEYS.access_key)
    (mounted / "AWS_SECRET_ACCESS_KEY").write_text(f"{KEYS.secret_key}\n")
    file = manifest(tmp_path, engine.url, secret="wrong")
    folder = ["--secrets-dir", str(mounted.parent)]

    with (
        running_gateway(tmp_path / "data", manifests=file, extra_args=folder) as gateway,
        Wire(gateway.url) as wire,
    ):
        assert wire.ask("GET", "/v1/objects/attachments/_/k").status == 404
