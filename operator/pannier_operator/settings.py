"""What `pannier-operator run` is told at its start."""

import argparse
import os
import re
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from pannier_operator.lease import LeaseName

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Address(NamedTuple):
    """Where to listen. Port 0 takes a free one."""

    host: str
    port: int


class Settings(Struct, frozen=True, kw_only=True):
    """`namespaces` empty: all of them. `resync` is seconds, `write_rate` writes a second.

    `kubeconfig` None: by the ServiceAccount of the pod.
    """

    kubeconfig: Path | None = None
    namespaces: tuple[str, ...] = ()
    metrics_listen: Address = Address("0.0.0.0", 8652)
    resync: float = 600.0
    write_rate: float = 250.0
    lease: LeaseName | None = None
    log_level: str = "info"


DEFAULTS = Settings()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `run`, which `settings_of` reads."""
    add = parser.add_argument
    add_scope(parser)
    add(
        "--metrics-listen",
        type=address,
        default=DEFAULTS.metrics_listen,
        metavar="HOST:PORT",
        help="/metrics and /livez (default: 0.0.0.0:8652; port 0: a free one)",
    )
    _add_pace(parser)
    add(
        "--lease",
        type=lease,
        metavar="NAMESPACE/NAME",
        help="do the work only while holding this Lease, so that others can stand by",
    )
    add_log_level(parser)


def _add_pace(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--resync",
        type=positive,
        default=DEFAULTS.resync,
        metavar="SECONDS",
        help="how often everything is looked at again, news or not (default: 600)",
    )
    add(
        "--write-rate",
        type=positive,
        default=DEFAULTS.write_rate,
        metavar="NUMBER",
        help="writes to the cluster per second, at most (default: 250)",
    )


def add_scope(parser: argparse.ArgumentParser) -> None:
    """The options of every command that works on Buckets and Usecases of a cluster."""
    add_kubeconfig(parser)
    parser.add_argument(
        "--namespace",
        action="append",
        default=[],
        type=namespace,
        metavar="NAME",
        help="look only here; give it again for more (default: all namespaces)",
    )


def add_kubeconfig(parser: argparse._ActionsContainer) -> None:
    """The option of every command that speaks to a cluster."""
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        default=os.environ.get("KUBECONFIG"),
        metavar="FILE",
        help="the cluster and a user of it (default: KUBECONFIG, or else the pod's ServiceAccount)",
    )


def add_log_level(parser: argparse._ActionsContainer) -> None:
    """The option of every command that logs."""
    parser.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default=DEFAULTS.log_level,
        help="of this process (default: info)",
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What `add_options` has had parsed."""
    return Settings(
        kubeconfig=arguments.kubeconfig,
        namespaces=tuple(dict.fromkeys(arguments.namespace)),
        metrics_listen=arguments.metrics_listen,
        resync=arguments.resync,
        write_rate=arguments.write_rate,
        lease=arguments.lease,
        log_level=arguments.log_level,
    )


def address(text: str) -> Address:
    """Read HOST:PORT; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, like 0.0.0.0:8652")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a namespace's name")
    return text


def lease(text: str) -> LeaseName:
    where, slash, name = text.partition("/")
    if not (slash and _NAMESPACE.fullmatch(where) and _NAMESPACE.fullmatch(name)):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAMESPACE/NAME")
    return LeaseName(where, name)


def positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
