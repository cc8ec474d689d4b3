"""A namespace on a real node, pods in it with an unmodified client, and what programs there see."""

import json
from dataclasses import dataclass
from typing import Any

from support.binaries import ROOT
from support.cluster import ControlPlane, Refused
from support.images import APPLICATION

Json = dict[str, Any]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
INJECTED = {"pannier.dev/inject": "true"}
PATIENCE = "--timeout=90s"
CONNECT = """
import os
from objectstore_client import Client, Usecase

client = Client(os.environ["PANNIER_URL"])
attachments = client.session(Usecase("attachments"), organization=7)
"""
STORE = f"{CONNECT}print(attachments.put(b'hello ' * 1000, 'greeting'))\n"
READ = f"{CONNECT}print(attachments.get('greeting').payload.read() == b'hello ' * 1000)\n"


def pod_spec(**container: object) -> Json:
    """A pod of the restricted profile with the application in it."""
    unprivileged = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    application = {"name": "application", "image": APPLICATION, "securityContext": unprivileged}
    safe = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "securityContext": safe,
        "terminationGracePeriodSeconds": 5,
        "containers": [application | container],
    }


@dataclass(frozen=True, slots=True)
class Shop:
    """A namespace whose pods get gateways."""

    plane: ControlPlane
    namespace: str

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.plane.kubectl("--namespace", self.namespace, *arguments, given=given)

    def apply(self, *manifests: Json) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl("apply", "--filename=-", given=json.dumps(listed))

    def apply_example(self, name: str) -> None:
        """As a reader of the documentation does it."""
        self.kubectl("apply", f"--filename={ROOT / 'examples' / name}")

    def until_ready(self, *usecases: str) -> None:
        for name in usecases:
            self.kubectl("wait", "--for=condition=Ready", f"usecase/{name}", PATIENCE)

    def start_pod(self, name: str) -> "Pod":
        """The application, waiting for programs to run; returns once it does, with its gateway."""
        made = self.make_pod(name)
        made.until_ready()
        return made

    def make_pod(self, name: str) -> "Pod":
        """The same, not started yet."""
        kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
        self.apply(kind | {"spec": pod_spec()})
        return Pod(self, name)

    def patch(self, usecase: str, **spec: object) -> None:
        change = json.dumps({"spec": spec})
        self.kubectl("patch", "usecase", usecase, "--type=merge", f"--patch={change}")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod with the application."""

    shop: Shop
    name: str

    def until_ready(self) -> None:
        self.shop.kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", PATIENCE)

    @property
    def status(self) -> Json:
        found = json.loads(self.shop.kubectl("get", "pod", self.name, "--output=json"))
        return dict(found["status"])

    @property
    def restarts(self) -> int:
        """Of its gateway and its application together."""
        parts = ("initContainerStatuses", "containerStatuses")
        return sum(each["restartCount"] for part in parts for each in self.status[part])

    def run(self, program: str) -> str:
        """What a Python program prints that runs beside the application; raises Refused."""
        within = (self.name, "--container=application")
        return self.shop.kubectl("exec", "--stdin", *within, "--", "python", "-", given=program)

    def refused(self, program: str) -> str:
        """What a program says that fails; nothing if it does not."""
        try:
            self.run(program)
        except Refused as refusal:
            return str(refusal)
        return ""
