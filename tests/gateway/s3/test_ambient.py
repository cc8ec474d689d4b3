"""Key pairs that the surroundings give for a time: to an instance, to a pod with an identity."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from pannier_gateway.stores.s3 import credentials
from pannier_gateway.stores.s3.credentials import Ambient
from pannier_gateway.stores.s3.signing import Credentials
from support.scripted import Peer, Received, ScriptedServer, answer, serving

ROLE = "arn:aws:iam::123456789012:role/r"
METADATA = "/latest/meta-data/iam/security-credentials/"
SOON = timedelta(minutes=5)  # so soon that botocore renews it whenever it is asked
ASSUMED = """
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>{}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
<SessionToken>token</SessionToken><Expiration>{}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>
"""


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surroundings that give nothing, and are asked each time."""
    monkeypatch.setattr(credentials, "ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@contextmanager
def answered(reply: Callable[[Received], bytes]) -> Iterator[ScriptedServer]:
    """A server that gives each request this answer, over a connection of its own."""

    def script(peer: Peer) -> None:
        request = peer.read_request()
        if request is not None:
            server.requests.append(request)
            peer.send(answer("200 OK", reply(request), "connection: close"))

    with serving(script) as server:
        yield server


def end() -> str:
    return (datetime.now(UTC) + SOON).isoformat(timespec="seconds").replace("+00:00", "Z")


async def test_an_instance_gets_the_pair_of_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(request: Received) -> bytes:
        if request.target == "/latest/api/token":
            return b"session"
        assert request.headers["x-aws-ec2-metadata-token"] == "session"
        if request.target == METADATA:
            return b"r"
        assert request.target == f"{METADATA}r"
        pair = {"AccessKeyId": "key", "SecretAccessKey": "secret"}
        told = {"Code": "Success", **pair, "Token": "token", "Expiration": end()}
        return json.dumps(told).encode()

    with answered(reply) as metadata:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
        assert await Ambient().current() == Credentials("key", "secret", "token")


async def test_a_pod_gets_the_pair_of_its_identity_and_then_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"

    def reply(request: Received) -> bytes:
        asked = parse_qs(request.body.decode())
        assert asked["Action"] == ["AssumeRoleWithWebIdentity"]
        assert asked["RoleArn"] == [ROLE]
        return ASSUMED.format(f"for-{asked['WebIdentityToken'][0]}", end()).encode()

    with answered(reply) as tokens:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
        source = Ambient()
        token.write_text("first")
        first = await source.current()
        token.write_text("other")
        second = await source.current()

    assert first == Credentials("for-first", "secret", "token")
    assert second.access_key == "for-other"


@pytest.mark.slow  # a process
def test_who_needs_no_surroundings_does_not_pay_for_botocore() -> None:
    program = (
        "import sys, pannier_gateway.__main__, pannier_gateway.app\n"
        "from pannier_gateway.stores.s3.credentials import Ambient\n"
        "Ambient()\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('botocore', 'boto3')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
