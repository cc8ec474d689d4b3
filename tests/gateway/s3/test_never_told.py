"""Whatever fails, and however much is logged: no key, token or private key is told to anybody."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from support.certificates import Authority
from support.gateway import Gateway, started
from support.scripted import answer, serving
from support.wire import Wire

pytestmark = pytest.mark.slow  # a process

KEY, SESSION, TOKEN = "k3y/of+the=store", "s3ssion-of-the-pod", "t0ken-of-the-pod"
ODD, MATERIAL = "n0t-base64!", "MIGHAgEAMBMGByqGSM49-and-no-more"
REFUSED = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
SECRET = "auth: {mode: Secret, secretRef: {name: keys}}"
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


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """One that tells all it can, and whose every Bucket fails."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    given = {"ACCESS_KEY_ID": "AKIA", "SECRET_ACCESS_KEY": KEY, "SESSION_TOKEN": SESSION}
    for name, text in given.items():
        monkeypatch.setenv(f"AWS_{name}", text)
    Authority().issue(tmp_path / "secrets" / "pair")
    (tmp_path / "secrets" / "pair" / "tls.key").write_text(
        f"-----BEGIN PRIVATE KEY-----\n{MATERIAL}\n-----END PRIVATE KEY-----\n"
    )
    with serving(answer("403 Forbidden", REFUSED, "connection: close")) as server:
        at = f'endpoints: ["{server.url}"], allowPlaintext: true'
        token = "upstream: {tokenSecretRef: {name: token, key: token}}"
        documents = [
            bucket(
                "signed", f"type: S3, {at}, s3: {{bucket: objects, region: us-east-1, {SECRET}}}"
            ),
            bucket(
                "ambient",
                f"type: S3, {at}, s3: {{bucket: objects, region: us-east-1, auth: {{mode: Ambient}}}}",
            ),
            bucket(
                "shown",
                'type: S3, endpoints: ["https://127.0.0.1:9"], tls: {secretRef: {name: pair}}, '
                f"s3: {{bucket: objects, region: us-east-1, {SECRET}}}",
            ),
            bucket("behind", f"type: Upstream, {at}, {token}"),
            secret("keys", f"AWS_ACCESS_KEY_ID: AKIA, AWS_SECRET_ACCESS_KEY: {KEY}"),
            secret("token", f"token: {TOKEN}"),
        ]
        (tmp_path / "all.yaml").write_text("---".join(documents))
        arguments = [
            "--manifests",
            str(tmp_path / "all.yaml"),
            "--data-dir",
            str(tmp_path / "data"),
        ]
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
    for secret_text in (KEY, SESSION, TOKEN, MATERIAL, ODD):
        assert secret_text not in everything
