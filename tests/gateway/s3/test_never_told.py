"""Whatever fails, and however much is logged: no key, token or private key is told to anybody."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from support.certificates import Authority
from support.gateway import Gateway, started
from support.scripted import Peer, ScriptedServer, answer, serving
from support.wire import Wire

pytestmark = pytest.mark.slow  # a process

KEY, TOKEN = "k3y/of+the=store", "t0ken-of-the-pod"
GIVEN, SESSION, IDENTITY = "k3y/for+a=while", "s3ssion-of-the-pod", "1dentity-of-the-pod"
ODD, MATERIAL = "n0t-base64!", "MIGHAgEAMBMGByqGSM49-and-no-more"
REFUSED = answer(
    "403 Forbidden", b"<Error><Code>SignatureDoesNotMatch</Code></Error>", "connection: close"
)
ASSUMED = f"""
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>AKIA</AccessKeyId><SecretAccessKey>{GIVEN}</SecretAccessKey>
<SessionToken>{SESSION}</SessionToken><Expiration>2050-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>
"""
S3 = "s3: {bucket: objects, region: us-east-1, addressing: Path, auth: "
SECRET = f"{S3}{{mode: Secret, secretRef: {{name: keys}}}}}}"
AMBIENT = f"{S3}{{mode: Ambient}}}}"
MANIFESTS = """
apiVersion: pannier.dev/v1alpha1
kind: Bucket
metadata: {{name: {name}, namespace: default}}
spec: {spec}
---
apiVersion: pannier.dev/v1alpha1
kind: Usecase
metadata: {{name: {name}, namespace: default}}
spec: {{bucketRef: {{name: {name}}}}}
"""
CORE = """
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: default}}
{field}: {{{content}}}
"""


def bucket(name: str, spec: str) -> str:
    return MANIFESTS.format(name=name, spec=f"{{{spec}}}")


def secret(name: str, content: str, field: str = "stringData") -> str:
    return CORE.format(name=name, field=field, content=content)


def refuse(peer: Peer) -> None:
    """As a store does, and as a service that gives out pairs does not."""
    request = peer.read_request()
    if request is not None and request.method == "POST":
        peer.send(answer("200 OK", ASSUMED.encode(), "connection: close"))
    elif request is not None:
        peer.send(REFUSED)


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """An identity of the pod's, and a server that refuses whatever is asked of a store."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "identity").write_text(IDENTITY)
    with serving(refuse) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "identity"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield server


@pytest.fixture
def gateway(surroundings: ScriptedServer, tmp_path: Path) -> Iterator[Gateway]:
    """One that tells all it can, and whose every Bucket fails."""
    Authority().issue(tmp_path / "secrets" / "pair")
    (tmp_path / "secrets" / "pair" / "tls.key").write_text(
        f"-----BEGIN PRIVATE KEY-----\n{MATERIAL}\n-----END PRIVATE KEY-----\n"
    )
    at = f'endpoints: ["{surroundings.url}"], allowPlaintext: true'
    shown = 'endpoints: ["https://127.0.0.1:9"], tls: {secretRef: {name: pair}}'
    documents = [
        bucket("signed", f"type: S3, {at}, {SECRET}"),
        bucket("ambient", f"type: S3, {at}, {AMBIENT}"),
        bucket("shown", f"type: S3, {shown}, {SECRET}"),
        bucket("behind", f"type: Upstream, {at}, upstream: {{tokenSecretRef: {{name: token}}}}"),
        secret("keys", f"AWS_ACCESS_KEY_ID: AKIA, AWS_SECRET_ACCESS_KEY: {KEY}"),
        secret("token", f"token: {TOKEN}"),
    ]
    (tmp_path / "all.yaml").write_text("---".join(documents))
    arguments = ["--manifests", str(tmp_path / "all.yaml"), "--data-dir", str(tmp_path / "data")]
    options = ["--secrets-dir", str(tmp_path / "secrets"), "--log-level", "debug"]
    with started([*arguments, *options], tmp_path / "log") as gateway:
        yield gateway


def test_nobody_is_told_a_secret(gateway: Gateway, tmp_path: Path) -> None:
    with Wire(gateway.url) as wire:
        told = [
            wire.ask(method, f"/v1/objects/{name}/_/k", body=b"x")
            for name in ("signed", "ambient", "shown", "behind")
            for method in ("PUT", "GET")
        ]
    assert {each.status for each in told} == {502}

    (tmp_path / "all.yaml").write_text(secret("keys", f"AWS_SECRET_ACCESS_KEY: {ODD}", "data"))
    while "config" not in (log := gateway.log.read_text()) or "refused" not in log:
        pass
    with urlopen(f"{gateway.admin_url}/configz") as page:
        shown = page.read().decode()

    everything = "".join([gateway.log.read_text(), shown, *(str(each) for each in told)])
    for secret_text in (KEY, TOKEN, GIVEN, SESSION, IDENTITY, MATERIAL, ODD):
        assert secret_text not in everything
