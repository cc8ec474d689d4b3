"""A store outside of the cluster: its keys change while pods run, its objects outlive Buckets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

from support import example
from support.cluster import ControlPlane, running
from support.node import ADDRESS
from support.operators import eventually
from support.pods import CONNECT, INJECTED, RESTRICTED, Json, Pod, Shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EXAMPLE = example.plain("http://127.0.0.1:7070")
LISTED_KEYS = ("AKIAPANNIERTESTING", "a/secret+key of the tests")
NEW_KEYS = ("AKIAPANNIERROTATED", "another/secret+key of the tests")
PORT = 7070
STORE = f"{CONNECT}print(attachments.put(b'kept', 'letter'))\n"
READ = f"{CONNECT}print(attachments.get('letter').payload.read())\n"
OBJECT = "$PANNIER_URL/v1/objects/attachments/_/letter"


@contextmanager
def engine(folder: Path, keys: tuple[str, str]) -> Iterator[None]:
    """An S3 engine on the node that takes these keys alone, with its bucket."""
    folder.mkdir(exist_ok=True)
    access, secret = keys
    place = (f"--port={ADDRESS}:{PORT}", "posix", str(folder))
    with running("versitygw", [f"--access={access}", f"--secret={secret}", *place], folder.parent):
        eventually(lambda: has_bucket(keys), seconds=30)
        yield


def has_bucket(keys: tuple[str, str]) -> bool:
    """Whether the engine is up, and has the bucket, which is made if need be."""
    access, secret = keys
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{ADDRESS}:{PORT}",
        region_name="us-east-1",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
    )
    try:
        listed = [each["Name"] for each in client.list_buckets()["Buckets"]]
    except BotoCoreError:
        return False
    return "objects" in listed or bool(client.create_bucket(Bucket="objects"))


def manifests(namespace: str, keys: tuple[str, str]) -> str:
    """The example, for pods of `namespace` and with these keys."""
    changes = {"127.0.0.1": ADDRESS, "namespace: default": f"namespace: {namespace}"}
    changed = EXAMPLE
    for old, new in (changes | dict(zip(LISTED_KEYS, keys, strict=True))).items():
        assert old in changed
        changed = changed.replace(old, new)
    return changed


def beside(name: str) -> tuple[Json, Json]:
    """A Bucket and a Usecase of that name, which need nothing of the engine."""
    head = {"apiVersion": "pannier.dev/v1alpha1", "metadata": {"name": name}}
    return (
        head | {"kind": "Bucket", "spec": {"type": "Filesystem"}},
        head | {"kind": "Usecase", "spec": {"bucketRef": {"name": name}}},
    )


def asked(pod: Pod) -> str:
    """What the gateway says to whoever reads, and the status behind it."""
    within = ("exec", pod.name, "--container=application", "--", "sh", "-c")
    return pod.shop.kubectl(*within, f'curl -sS -w " %{{http_code}}" "{OBJECT}"')


@pytest.fixture
def shop(installed: ControlPlane) -> Shop:
    """A namespace of which objects are in that engine."""
    made = Shop(installed, installed.create_namespace(**RESTRICTED, **INJECTED))
    made.kubectl("apply", "--filename=-", given=manifests(made.namespace, LISTED_KEYS))
    made.until_ready("attachments")
    return made


def test_a_running_gateway_takes_up_a_secret_that_rotates(shop: Shop, folder: Path) -> None:
    data = folder / "engine"
    with engine(data, LISTED_KEYS):
        pod = shop.start_pod("application")
        assert pod.run(STORE) == "letter\n"
    with engine(data, NEW_KEYS):
        assert pod.refused(READ)

        shop.kubectl("apply", "--filename=-", given=manifests(shop.namespace, NEW_KEYS))

        eventually(lambda: not pod.refused(READ), seconds=90)
        assert pod.run(READ) == "b'kept'\n"
    assert pod.restarts == 0
    shop.kubectl("delete", "usecases,buckets", "--all")


def test_a_secret_that_is_late_keeps_its_bucket_waiting_and_not_the_pod(
    shop: Shop, folder: Path
) -> None:
    shop.kubectl("delete", "secret", "store-keys")
    shop.apply(*beside("local"))
    shop.until_ready("local")
    with engine(folder / "awaiting", LISTED_KEYS):
        pod = shop.start_pod("early")
        told = asked(pod)
        assert told.endswith(" 502")
        assert "store-keys/AWS_ACCESS_KEY_ID" in told
        assert pod.run(STORE.replace("attachments", "local")) == "letter\n"

        shop.kubectl("apply", "--filename=-", given=manifests(shop.namespace, LISTED_KEYS))

        eventually(lambda: asked(pod).endswith(" 404"), seconds=90)
        assert pod.run(STORE + READ) == "letter\nb'kept'\n"
    assert pod.restarts == 0
    shop.kubectl("delete", "usecases,buckets", "--all")


def test_objects_stay_where_they_are_when_their_bucket_is_deleted(shop: Shop, folder: Path) -> None:
    with engine(folder / "outliving", LISTED_KEYS):
        assert shop.start_pod("writer").run(STORE) == "letter\n"

        shop.kubectl("delete", "usecases,buckets", "--all")

        shop.kubectl("apply", "--filename=-", given=manifests(shop.namespace, LISTED_KEYS))
        shop.until_ready("attachments")
        assert shop.start_pod("reader").run(READ) == "b'kept'\n"
