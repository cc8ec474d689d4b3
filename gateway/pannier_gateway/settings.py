"""Settings of one process: arguments, or the environment, or defaults; in that order."""

import argparse
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from msgspec import Struct

from pannier.version import __version__

DESCRIPTION = """\
Object storage at localhost: serves the objectstore protocol from the Usecase and Bucket manifests
that kubectl apply takes, or from the configuration that the operator writes.
"""
EPILOG = """\
Every option can be given in the environment instead, as PANNIER_ and its name: PANNIER_DATA_DIR,
PANNIER_LISTEN, ... An argument wins over the environment.

Another command, which has a --help of its own, writes the rules by which S3 stores delete what has
expired:  pannier-gateway lifecycle plan|apply

Try it:  pannier-gateway --manifests examples/quickstart.yaml --data-dir /tmp/pannier
"""

LIFECYCLE = """\
The lifecycle rules by which the stores of S3 Buckets delete what has expired: `plan` shows what is
missing, `apply` writes it and sees what the stores make of it. Rules of others are left alone.
"""
LIFECYCLE_EPILOG = """\
The exit status of plan is 0 where nothing is missing, 1 where something is; that of apply is 0
where all is written. It is 2 where a Bucket's rules could not be read or written.
PANNIER_MANIFESTS, PANNIER_CONFIG and PANNIER_SECRETS_DIR count here too.
"""

MOST_WORKERS = 256
LAST_PORT = 65535
SHIFTS = {"Mi": 20, "Gi": 30, "Ti": 40}
SOURCES = ("--manifests", "--config")  # one of them given, the environment's other one is out


class SettingsError(Exception):
    """A setting that can't be used; the text is one line for whoever started the process."""


class Address(NamedTuple):
    """Where to listen. Port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class HubSettings(NamedTuple):
    """Where other gateways connect, the certificate that they are shown, and what they may do."""

    tls_listen: Address
    tls_dir: Path
    tls_clients: Path


class Settings(Struct, frozen=True, kw_only=True):
    """What the process is told at its start; everything else is configuration, and may change.

    `drain` and `sweep_interval` are seconds, `spool_size` is bytes.
    """

    manifests: Path | None
    config: Path | None
    data_dir: Path
    claims_dir: Path | None
    secrets_dir: Path | None
    durability: Literal["full", "relaxed"]
    spool_size: int
    listen: Address
    admin_listen: Address
    socket: Path | None
    hub: HubSettings | None = None
    drain: float
    sweep_interval: float
    log_level: str
    workers: int = 1
    worker: int = 0  # which of several this is


class LifecycleSettings(Struct, frozen=True, kw_only=True):
    """What `lifecycle` is told. `bucket`: the only one, by its name or `namespace/name`."""

    action: Literal["plan", "apply"]
    manifests: Path | None
    config: Path | None
    secrets_dir: Path | None
    bucket: str | None


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (see {self.prog} --help)")


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError; `--help` and `--version` end the process."""
    parser = build_parser()
    found = parsed(parser, arguments, from_environment(parser, environment))
    settings = Settings(hub=hub_settings(parser, found), **found)
    if settings.workers > 1 and settings.socket is not None:
        parser.error("--socket can't be shared: leave out --workers")
    return settings


def hub_settings(parser: Parser, found: dict[str, Any]) -> HubSettings | None:
    """Taken out of what was `found`. Raises SettingsError where it is not whole."""
    given = HubSettings(*(found.pop(name) for name in HubSettings._fields))
    if None in given and any(given):
        parser.error("--tls-listen, --tls-dir and --tls-clients go together")
    return None if None in given else given


def parse_lifecycle(arguments: Sequence[str], environment: Mapping[str, str]) -> LifecycleSettings:
    """Raises SettingsError; `--help` ends the process."""
    names = ("manifests", "config", "secrets_dir")
    given = {name: environment.get(f"PANNIER_{name.upper()}") or None for name in names}
    return LifecycleSettings(**parsed(build_lifecycle_parser(), arguments, given))


def parsed(
    parser: Parser, arguments: Sequence[str], defaults: Mapping[str, object]
) -> dict[str, Any]:
    """What is given, with one source of configuration. Raises SettingsError."""
    if any(each.startswith(SOURCES) for each in arguments):
        defaults = {name: value for name, value in defaults.items() if f"--{name}" not in SOURCES}
    parser.set_defaults(**defaults)
    refuse(parser, unknown_options(parser, arguments))  # argparse would tell what is missing first
    try:
        found, surplus = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        parser.error(str(error))
    refuse(parser, surplus)
    if (found.manifests is None) == (found.config is None):
        parser.error("give one of --manifests and --config, and not both")
    return vars(found)


def refuse(parser: Parser, surplus: Sequence[str]) -> None:
    """Raises SettingsError where there is any."""
    if surplus:
        parser.error(f"unrecognized arguments: {' '.join(surplus)}{hint(parser, surplus[0])}")


def unknown_options(parser: Parser, arguments: Sequence[str]) -> list[str]:
    written = [each for each in arguments if re.match("--?[a-z]", each)]
    known = options_of(parser)
    return [each for each in written if each.partition("=")[0] not in known]


def options_of(parser: Parser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]


def hint(parser: Parser, surplus: str) -> str:
    """What whoever wrote that may have meant."""
    meant = get_close_matches(surplus.partition("=")[0], ["lifecycle", *options_of(parser)], 1)
    if meant:
        return f"; did you mean {meant[0]}?"
    return "" if surplus.startswith("-") else f"; manifests are given as --manifests {surplus}"


def build_parser() -> Parser:
    parser = empty_parser("pannier-gateway", DESCRIPTION, EPILOG)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_configuration(parser)
    add_folders(parser)
    add_storage(parser)
    add_listeners(parser)
    add_process(parser)
    return parser


def build_lifecycle_parser() -> Parser:
    parser = empty_parser("pannier-gateway lifecycle", LIFECYCLE, LIFECYCLE_EPILOG)
    choices = ["plan", "apply"]
    parser.add_argument(
        "action", choices=choices, metavar="plan|apply", help="show the rules, or write them"
    )
    add_configuration(parser)
    add_secrets(parser.add_argument_group("folders"))
    add = parser.add_argument_group("choice").add_argument
    add("--bucket", metavar="NAME", help="this Bucket alone: its name, or NAMESPACE/NAME")
    return parser


def empty_parser(program: str, description: str, epilog: str) -> Parser:
    return Parser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
    )


def add_configuration(parser: Parser) -> None:
    add = parser.add_argument_group("configuration (one of the two)").add_argument
    add("--manifests", type=Path, metavar="FILE_OR_DIR", help="Usecase and Bucket manifests")
    add("--config", type=Path, metavar="FILE", help="a configuration as the operator writes it")


def add_folders(parser: Parser) -> None:
    group = parser.add_argument_group("folders")
    add = group.add_argument
    add(
        "--data-dir",
        type=Path,
        default=Path("pannier-data"),
        metavar="DIR",
        help="where Filesystem buckets live (default: ./pannier-data)",
    )
    add(
        "--claims-dir",
        type=Path,
        metavar="DIR",
        help="where the PersistentVolumeClaims that Filesystem buckets name are mounted, as "
        "DIR/CLAIM (default: such buckets live in the data directory too)",
    )
    add_secrets(group)


def add_secrets(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--secrets-dir",
        type=Path,
        metavar="DIR",
        help="where the Secrets and ConfigMaps that Buckets name are mounted, as DIR/NAME/KEY",
    )


def add_storage(parser: Parser) -> None:
    add = parser.add_argument_group("storage").add_argument
    add(
        "--durability",
        choices=["full", "relaxed"],
        default="full",
        help="what an acknowledged write survives: full: power loss; relaxed: the process's death "
        "(default: full)",
    )
    add(
        "--spool-size",
        type=size,
        default=2 << 30,
        metavar="SIZE",
        help="what the data directory has room for, like 512Mi or 4Gi: half of it may go to bodies "
        "that may have to be sent again (default: 2Gi)",
    )
    add(
        "--sweep-interval",
        type=interval,
        default=30.0,
        metavar="SECONDS",
        help="how often expired objects are deleted; readers never see one (default: 30)",
    )


def add_listeners(parser: Parser) -> None:
    group = parser.add_argument_group("listeners")
    add = group.add_argument
    add(
        "--listen",
        type=address,
        default=Address("127.0.0.1", 8650),
        metavar="HOST:PORT",
        help="where applications connect (default: 127.0.0.1:8650; port 0: a free one)",
    )
    add(
        "--admin-listen",
        type=address,
        default=Address("0.0.0.0", 8651),
        metavar="HOST:PORT",
        help="/metrics /livez /readyz /startupz /configz (default: 0.0.0.0:8651)",
    )
    add("--socket", type=Path, metavar="PATH", help="listen on this Unix socket too")
    add_hub(group)


def add_hub(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--tls-listen",
        type=address,
        metavar="HOST:PORT",
        help="where other gateways connect, over TLS and with certificates of their own",
    )
    add(
        "--tls-dir",
        type=Path,
        metavar="DIR",
        help="tls.crt and tls.key to show them, and ca.crt, the authority of their certificates",
    )
    add(
        "--tls-clients",
        type=Path,
        metavar="FILE",
        help="which of them may touch which usecases, by the names in their certificates",
    )


def add_process(parser: Parser) -> None:
    add = parser.add_argument_group("process").add_argument
    add(
        "--drain",
        type=seconds,
        default=25.0,
        metavar="SECONDS",
        help="how long requests in flight may take once the process is told to end (default: 25)",
    )
    add(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default="info",
        help="debug logs every request (default: info)",
    )
    add(
        "--workers",
        type=count,
        default=1,
        metavar="NUMBER",
        help="how many processes serve on the same ports, for a hub on several cores; Filesystem "
        "buckets take one (default: 1)",
    )
    add(
        "--worker",
        type=int,
        default=0,
        help=argparse.SUPPRESS,  # the process that was told of --workers sets it
    )


def from_environment(parser: Parser, environment: Mapping[str, str]) -> dict[str, object]:
    """The settings that the environment gives, checked like arguments. Raises SettingsError."""
    given: dict[str, object] = {}
    for name in (action.dest for action in parser._actions if action.nargs != 0):
        variable = f"PANNIER_{name.upper()}"
        if text := environment.get(variable):
            try:
                found = parser.parse_args([f"--{name.replace('_', '-')}={text}"])
            except argparse.ArgumentError as error:
                raise SettingsError(f"{variable}: {error.message}") from error
            given[name] = getattr(found, name)
    return given


def address(text: str) -> Address:
    """Read HOST:PORT; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if port.isascii() and port.isdigit() and int(port) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r}: the last port is {LAST_PORT}")
    if not (colon and host and port.isascii() and port.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, like 127.0.0.1:8650")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_WORKERS}")
    return int(text)


def size(text: str) -> int:
    """Bytes, from a size as manifests write it."""
    found = re.fullmatch("([1-9][0-9]{0,6})(Mi|Gi|Ti)", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in Mi, Gi or Ti, like 2Gi")
    return int(found[1]) << SHIFTS[found[2]]


def interval(text: str) -> float:
    number = seconds(text)
    if number < 0.1:
        raise argparse.ArgumentTypeError("at least 0.1 seconds lie between two rounds")
    return number


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number
