"""A gateway in front of a real engine, from the example's manifest alone."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from pannier import Client, NotFound
from support.engines import KEYS, Engine, client, make_bucket, versitygw
from support.gateway import Gateway, running_gateway
from support.wire import Wire

EXAMPLE = Path(__file__).parents[3] / "examples" / "s3.yaml"
NOISE = bytes(range(256)) * 50_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with versitygw(tmp_path_factory.mktemp("engine")) as running:
        make_bucket(running)
        yield running


def manifest(folder: Path, url: str, *, secret: str = "a/secret+key of the tests") -> Path:
    """The example for a store at `url`."""
    text = EXAMPLE.read_text().replace("http://127.0.0.1:7070", url)
    file = folder / "s3.yaml"
    file.write_text(text.replace("a/secret+key of the tests", secret))
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
        answer = wire.ask("GET", "/v1/objects/attachments/_/k")
        other = wire.ask("PUT", "/v1/objects/local-files/_/k", body=b"x")

    assert (answer.status, other.status) == (status, 200)
    assert said in answer.detail
    assert "default/" in answer.detail


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
