"""What `pannier-operator injector` is told at its start."""

import argparse
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

from pannier_operator.injector.manifests import SYSTEM
from pannier_operator.injector.options import OPTIONS, Option, Refused
from pannier_operator.injector.patch import agree
from pannier_operator.injector.sidecar import DEFAULTS, Sidecar
from pannier_operator.settings import (
    Address,
    add_kubeconfig,
    add_log_level,
    address,
    namespace,
)
from pannier_operator.unusable import Unusable


class Settings(Struct, frozen=True, kw_only=True):
    """`certificate_dir` None: the injector makes its own certificate. `linger` is seconds.

    `kubeconfig` None: by the ServiceAccount of the pod.
    """

    sidecar: Sidecar
    kubeconfig: Path | None
    namespace: str
    listen: Address
    metrics_listen: Address
    service: str
    host: tuple[str, ...]
    certificate_dir: Path | None
    certificate_secret: str
    webhooks: str
    linger: float
    log_level: str

    @property
    def excluded(self) -> tuple[str, ...]:
        """Namespaces whose pods are never touched."""
        return (*SYSTEM, self.namespace)

    @property
    def names(self) -> tuple[str, ...]:
        """What API servers call the injector by."""
        name = f"{self.service}.{self.namespace}.svc"
        return name, f"{name}.cluster.local", *self.host


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `injector`, which `settings_of` reads."""
    _add_gateway(parser)
    _add_listeners(parser)
    _add_certificate(parser)
    _add_process(parser)


def _add_process(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("process")
    add_kubeconfig(group)
    group.add_argument(
        "--namespace",
        type=namespace,
        default=os.environ.get("POD_NAMESPACE"),
        metavar="NAME",
        help="where the injector runs, whose pods it never touches (default: $POD_NAMESPACE)",
    )
    group.add_argument(
        "--linger",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long reviews are still taken once the process is told to end, until every API "
        "server knows (default: 5)",
    )
    add_log_level(group)


def _add_gateway(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("gateways")
    add = group.add_argument
    add("--image", required=True, help="the gateway's image")
    add(
        "--image-pull-policy",
        choices=["Always", "IfNotPresent", "Never"],
        default="IfNotPresent",
        help="(default: IfNotPresent)",
    )
    add("--cpu-limit", action="store_true", help="make the CPU request a limit, too")
    for option in OPTIONS:
        add(
            f"--default-{option.name}",
            type=_accepted_by(option),
            default=DEFAULTS[option.name],
            metavar="VALUE",
            help=f"where a pod does not say {option.annotation}; "
            f"{option.allowed.replace('%', '%%')} (default: {DEFAULTS[option.name]})",
        )


def _add_listeners(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("listeners").add_argument
    add(
        "--listen",
        type=address,
        default=Address("0.0.0.0", 9443),
        metavar="HOST:PORT",
        help="reviews, by HTTPS (default: 0.0.0.0:9443; port 0: a free one)",
    )
    add(
        "--metrics-listen",
        type=address,
        default=Address("0.0.0.0", 8653),
        metavar="HOST:PORT",
        help="/metrics, /livez and /readyz (default: 0.0.0.0:8653)",
    )


def _add_certificate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("certificate").add_argument
    add(
        "--service",
        default="pannier-injector",
        metavar="NAME",
        help="the Service that the certificate is for (default: pannier-injector)",
    )
    add(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name or address that it is for; give it again for more",
    )
    add(
        "--certificate-dir",
        type=Path,
        metavar="DIR",
        help="take tls.crt and tls.key from here, as they change, and leave the CA to others: for "
        "cert-manager",
    )
    _add_own_certificate(parser)


def _add_own_certificate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("certificate of its own").add_argument
    add(
        "--certificate-secret",
        default="pannier-injector-certificate",
        metavar="NAME",
        help="the Secret, in --namespace, that all injectors share their certificate by "
        "(default: pannier-injector-certificate)",
    )
    add(
        "--webhooks",
        default="pannier-injector",
        metavar="NAME",
        help="the MutatingWebhookConfiguration to keep the CA in (default: pannier-injector)",
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What `add_options` has had parsed. Raises Unusable."""
    if arguments.namespace is None:
        raise Unusable("give --namespace, or POD_NAMESPACE in the environment")
    given = vars(arguments)
    sidecar = Sidecar(
        image=arguments.image,
        pull_policy=arguments.image_pull_policy,
        version=version("pannier").replace("+", "-"),  # a label takes no plus
        cpu_limit=arguments.cpu_limit,
        defaults=_defaults(given),
    )
    own = {name: given[name] for name in Settings.__struct_fields__ if name != "sidecar"}
    return Settings(sidecar=sidecar, **own | {"host": tuple(arguments.host)})


def _defaults(given: Mapping[str, str]) -> dict[str, str]:
    found = {each.name: given[f"default_{each.name.replace('-', '_')}"] for each in OPTIONS}
    try:
        agree(found)
    except Refused as refusal:
        raise Unusable(f"with these --default-… every pod is refused: {refusal}") from refusal
    return found


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def _accepted_by(option: Option) -> Callable[[str], str]:
    def accepted(text: str) -> str:
        if not option.accepts(text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {option.allowed}")
        return text

    return accepted
