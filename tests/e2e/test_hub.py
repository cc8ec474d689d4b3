"""Pods that keep their objects at a hub, which knows each gateway by its certificate."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from support import release
from support.binaries import ROOT
from support.certificates import Authority
from support.charts import NAMESPACE
from support.cluster import ControlPlane
from support.pods import INJECTED, READ, RESTRICTED, STORE, Json, Shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
CLIENT = "spiffe://cluster.local/ns/shop/sa/web"
STRANGER = "spiffe://cluster.local/ns/shop/sa/other"
OBJECT = "$PANNIER_URL/v1/objects/attachments/_/key"
PORT = 8652  # of the pod: nothing leads from Services to pods on this node


def shown(begin: str) -> Json:
    """What the page shows from that line on."""
    (found,) = re.findall(rf"^```\w+\n({re.escape(begin)}.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return dict(yaml.safe_load(found))


class Hub:
    """A hub as the page shows it, without a volume, and the authority that it trusts."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self._authority = Authority()
        self._shop = Shop(plane, NAMESPACE)

    def start(self) -> None:
        values = shown("hub:")
        values["hub"] |= {"storage": {"enabled": False}}
        (self._folder / "values.yaml").write_text(yaml.safe_dump(values))
        self._certify(self._shop, "hub-certificate", x509.DNSName(self.name))
        self._shop.apply_example("quickstart.yaml")
        self._shop.until_ready("attachments")
        release.upgrade(self._plane, f"--values={self._folder / 'values.yaml'}")

    def stop(self) -> None:
        release.upgrade(self._plane, "--set=hub.enabled=false")
        self._shop.kubectl("delete", "usecases,buckets", "--all")

    @property
    def name(self) -> str:
        """Of its Service, which its certificate is for."""
        (endpoint,) = shown("apiVersion:")["spec"]["endpoints"]
        return str(re.sub(r"https://(.*):\d+", r"\1", endpoint))

    @contextmanager
    def customer(self, identity: str) -> Iterator[Shop]:
        """A namespace whose pods prove to be `identity`, and keep everything at the hub.

        Its Usecase is gone afterwards: it is the only one that may have that name there.
        """
        shop = Shop(self._plane, self._plane.create_namespace(**RESTRICTED, **INJECTED))
        self._certify(shop, "web", x509.UniformResourceIdentifier(identity))
        bucket = shown("apiVersion:")
        bucket["metadata"]["namespace"] = shop.namespace
        bucket["spec"] |= {"endpoints": [f"https://{self._address}:{PORT}"]}
        bucket["spec"]["tls"]["serverName"] = self.name
        shop.apply(bucket, usecase(bucket))
        shop.until_ready("attachments")
        yield shop
        shop.kubectl("delete", "usecases,buckets", "--all")

    @property
    def _address(self) -> str:
        of_it = ("pods", "--selector=app.kubernetes.io/component=hub")
        return self._shop.kubectl("get", *of_it, "--output=jsonpath={.items[0].status.podIP}")

    def _certify(self, shop: Shop, secret: str, name: x509.GeneralName) -> None:
        files = self._authority.issue(self._folder / shop.namespace / secret, (name,))
        shop.kubectl("create", "secret", "generic", secret, f"--from-file={files}")


def usecase(bucket: Json) -> Json:
    spec = {"bucketRef": {"name": bucket["metadata"]["name"]}}
    kind = {"apiVersion": bucket["apiVersion"], "kind": "Usecase"}
    return kind | {"metadata": {"name": "attachments"}, "spec": spec}


@pytest.fixture(scope="module")
def hub(installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    made = Hub(installed, tmp_path_factory.mktemp("hub"))
    made.start()
    yield made
    made.stop()


def test_what_one_pod_stores_at_the_hub_another_reads_there(hub: Hub) -> None:
    with hub.customer(CLIENT) as shop:
        assert shop.start_pod("writer").run(STORE) == "greeting\n"

        assert shop.start_pod("reader").run(READ) == "True\n"


def test_a_certificate_that_no_rule_of_the_hub_names_opens_nothing(hub: Hub) -> None:
    with hub.customer(STRANGER) as shop:
        shop.start_pod("stranger")
        within = ("exec", "stranger", "--container=application", "--", "sh", "-c")
        told = shop.kubectl(*within, f'curl -sS -T /etc/hostname "{OBJECT}"')

    assert f"{STRANGER} may not touch the usecase 'attachments'" in told
