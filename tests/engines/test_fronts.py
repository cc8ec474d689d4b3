"""A real engine behind what demands client certificates, and the example before it as it stands."""

import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support import example
from support.binaries import ROOT
from support.certificates import Authority
from support.engines import make_bucket
from support.fronts import Front, caddy, haproxy, nginx
from support.gateway import running_gateway, started
from support.makes import Engines
from support.wire import Wire

pytestmark = [pytest.mark.slow, pytest.mark.engines]

FRONTS: Mapping[str, Front] = {"caddy": caddy, "haproxy": haproxy, "nginx": nginx}
ADVICE = {
    "caddy": "check tls.crt and tls.key",  # on an alert of TLS
    "haproxy": "check tls.crt and tls.key",
    "nginx": "what stands in front of the store",  # on an answer that is not a store's
}
BUNDLE = "caConfigMapRef: {name: store-identity}"


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """What the example is told to read, of the authority that the front trusts."""
    authority = Authority()
    authority.issue(tmp_path / "front")
    return authority.issue(tmp_path / "secrets" / "store-identity")


@pytest.fixture
def manifests(engines: Engines, front: str, identity: Path, tmp_path: Path) -> Iterator[Path]:
    """The example for an engine behind the front, with a bucket of its own."""
    engine = engines.running("versitygw")
    bucket = make_bucket(engine, f"behind-{secrets.token_hex(8)}")
    running = tmp_path / "running"
    with FRONTS[front](running, engine.port, identity.parents[1] / "front") as url:
        text = example.at(url).replace("bucket: objects", f"bucket: {bucket}")
        (tmp_path / "s3.yaml").write_text(text)
        yield tmp_path / "s3.yaml"


def test_the_example_does_what_the_quickstart_does(manifests: Path, identity: Path) -> None:
    """The line of the README: put, get, a range, a listing, expiry, metrics, each byte compared."""
    ours = {"examples/s3.yaml": str(manifests), "secrets": str(identity.parent)}
    command = [sys.executable, *told("python", ours)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Every byte came back as it went in" in done.stdout


def test_a_gateway_starts_by_the_line_of_the_readme(
    manifests: Path, identity: Path, tmp_path: Path
) -> None:
    ours = {"examples/s3.yaml": str(manifests), "secrets": str(identity.parent)}
    arguments = [*told("pannier-gateway", ours), "--data-dir", str(tmp_path / "data")]
    with started(arguments, tmp_path / "log") as gateway, Wire(gateway.url) as wire:
        assert wire.ask("PUT", "/v1/objects/attachments/_/k", body=b"x").status == 200
        assert wire.ask("GET", "/v1/objects/attachments/_/k").body == b"x"


def told(program: str, ours: dict[str, str]) -> list[str]:
    """What the README gives `program` to do with the example, with our files in its place."""
    (line,) = re.findall(
        rf"^\$ .venv/bin/{program} (.*examples/s3\.yaml.*)$",
        (ROOT / "README.md").read_text(),
        re.MULTILINE,
    )
    return [ours.get(word, word) for word in shlex.split(line, comments=True)]


@pytest.mark.parametrize("shown", ["a stranger's", "none"])
def test_who_may_not_come_in_is_told_what_to_check(
    manifests: Path, identity: Path, tmp_path: Path, front: str, shown: str
) -> None:
    trusted = (identity / "ca.crt").read_bytes()
    Authority().issue(identity)
    (identity / "ca.crt").write_bytes(trusted)
    if shown == "none":
        text = manifests.read_text()
        manifests.write_text(text.replace("secretRef: {name: store-identity}", BUNDLE))

    folder = ["--secrets-dir", str(identity.parent)]
    with (
        running_gateway(tmp_path / "data", manifests=manifests, extra_args=folder) as gateway,
        Wire(gateway.url) as wire,
    ):
        answer = wire.ask("GET", "/v1/objects/attachments/_/k")

    assert answer.status == 502
    assert "Bucket default/store" in answer.detail
    assert ADVICE[front] in answer.detail
