"""A Bucket that can't be right, before a real engine of each make: what a pod is told, and when."""

import time
from pathlib import Path

import msgspec
import pytest

from pannier_gateway.stores.s3.findings import FINDINGS
from support import example
from support.engines import OWN, Engine, client, make_bucket
from support.gateway import running_gateway
from support.makes import MAKES, Engines
from support.stores import marks
from support.wire import Answer, Wire

SLACK = 2.0  # seconds that a busy machine may need beside
KEYS = "check the Bucket's credentials"
WHERE = "check s3.bucket, s3.region and endpoints"
LATE = "import time\nnow = time.time\ntime.time = lambda: now() - 1200\n"
UNMINDFUL = {
    ("minio", "region"),
    ("ceph", "region"),
    ("garage", "clock"),
    ("s3s-fs", "region"),
    ("s3s-fs", "bucket"),  # which it makes
}
"""What an engine lets pass."""


@pytest.fixture(params=[pytest.param(make, marks=marks(make)) for make in MAKES])
def engine(request: pytest.FixtureRequest, engines: Engines) -> Engine:
    """With its bucket, probed already."""
    engine = engines.running(request.param)
    asked = client(engine)
    if "objects" not in [each["Name"] for each in asked.list_buckets()["Buckets"]]:
        make_bucket(engine)
        found = msgspec.json.encode(MAKES[request.param].traits)
        asked.put_object(Bucket="objects", Key=f"{OWN}{FINDINGS}", Body=found)
    return engine


@pytest.fixture
def manifests(engine: Engine, tmp_path: Path) -> Path:
    """The example for the engine, where everything is right so far."""
    text = example.plain(engine.url)
    for ours, its in zip(
        ("AKIAPANNIERTESTING", "a/secret+key of the tests"), engine.keys[:2], strict=True
    ):
        text = text.replace(ours, its)
    (tmp_path / "s3.yaml").write_text(text)
    return tmp_path / "s3.yaml"


def asked(manifests: Path) -> tuple[Answer, float]:
    """What a gateway that has just begun answers, and after how many seconds."""
    with (
        running_gateway(manifests.with_name("data"), manifests=manifests) as gateway,
        Wire(gateway.url) as wire,
    ):
        began = time.monotonic()
        answer = wire.ask("GET", "/v1/objects/attachments/_/k")
        return answer, time.monotonic() - began


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("secret", "AWS_SECRET_ACCESS_KEY: ", KEYS),
        ("key", "AWS_ACCESS_KEY_ID: ", KEYS),
        ("bucket", "bucket: ", WHERE),
        ("region", "region: ", WHERE),
        ("clock", "", "the clocks differ"),
    ],
)
def test_what_will_not_pass_is_told_at_once_with_what_to_check(
    engine: Engine,
    manifests: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
    right: str,
    said: str,
) -> None:
    if wrong == "clock":
        (manifests.parent / "late" / "sitecustomize.py").parent.mkdir()
        (manifests.parent / "late" / "sitecustomize.py").write_text(LATE)
        monkeypatch.setenv("PYTHONPATH", str(manifests.parent / "late"))
    else:
        text = manifests.read_text()
        manifests.write_text(text.replace(right, f"{right}elsewhere-"))

    answer, seconds = asked(manifests)

    if (engine.name, wrong) in UNMINDFUL:
        assert answer.status == 404
        return
    assert answer.status == 502
    assert said in answer.detail
    assert "Bucket default/store" in answer.detail
    assert engine.url in answer.detail
    assert seconds < 1 + SLACK


def test_who_has_it_right_is_told_that_there_is_no_such_object(manifests: Path) -> None:
    answer, _ = asked(manifests)

    assert answer.status == 404
