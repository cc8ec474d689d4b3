"""The command `pannier-operator`, once all that it needs is installed."""

import argparse
import asyncio
import gc
import logging
import re
import signal
import sys
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from pannier_gateway.config import crds, documents, model
from pannier_gateway.config.problems import ConfigError
from pannier_operator import logs
from pannier_operator.checking import Checked
from pannier_operator.injector import settings as injecting
from pannier_operator.lease import LeaseLost
from pannier_operator.settings import (
    Settings,
    add_log_level,
    add_options,
    add_scope,
    settings_of,
)
from pannier_operator.unusable import Unusable
from pannier_operator.world import of_manifests

DESCRIPTION = "Turns Usecase and Bucket resources into the configuration of gateways."
RUN = "Watches a cluster: that of a kubeconfig, or the one that its pod is in."
INJECTOR = "An admission webhook that gives pods their gateway, where they are labelled for it."
CHECK = "Says what a cluster would make of manifests, without one."
UNPROTECT = "Takes the operator's finalizer off all Buckets, for when it is gone for good."
CRDS = "Prints the CustomResourceDefinitions, for kubectl apply --server-side -f -"
COLLECT_AFTER = 50_000  # new objects: a page of a list makes more, and no cycles

log = logging.getLogger("pannier.operator")


class Parser(argparse.ArgumentParser):
    """Complains in one line, and of what it doesn't know before what is missing."""

    def parse_known_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]  # it has overloads
        own = takewhile(is_option, args) if self._subparsers else filter(is_option, args)
        known = self._option_string_actions
        if unknown := [each for each in own if each.partition("=")[0] not in known]:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise Unusable(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str]) -> int:
    """0: done. 1: `check` has refused something, or the work broke off. 2: it could not begin."""
    try:
        given = _parser().parse_args(arguments)
        code: int = given.do(given)
    except (Unusable, ConfigError, OSError) as error:
        _complain(error)
        return 2
    return code


def is_option(argument: str) -> bool:
    return re.match("--?[a-z]", argument) is not None


def _parser() -> Parser:
    parser = Parser(prog="pannier-operator", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('pannier')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="turn resources into configuration", description=RUN)
    add_options(run)
    run.set_defaults(do=_run)
    check = commands.add_parser("check", help="judge manifest files", description=CHECK)
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file or a directory")
    check.add_argument("--render", action="store_true", help="print the configurations, too")
    check.set_defaults(do=_check)
    injector = commands.add_parser("injector", help="give pods their gateway", description=INJECTOR)
    injecting.add_options(injector)
    injector.set_defaults(do=_injector)
    unprotect = commands.add_parser("unprotect", help="let Buckets go", description=UNPROTECT)
    add_scope(unprotect)
    add_log_level(unprotect)
    unprotect.set_defaults(do=_unprotect)
    commands.add_parser("crds", help="print the CRDs", description=CRDS).set_defaults(do=_crds)
    return parser


def _run(given: argparse.Namespace) -> int:
    from pannier_operator.run import run  # noqa: PLC0415  # a second to import; others need it not

    settings = settings_of(given)
    return _worked(run(settings), settings.log_level)


def _unprotect(given: argparse.Namespace) -> int:
    from pannier_operator.run import Operator  # noqa: PLC0415  # the same

    scope = Settings(
        kubeconfig=given.kubeconfig, namespaces=(*given.namespace,), log_level=given.log_level
    )
    return _worked(Operator(scope).unprotect(), scope.log_level)


def _injector(given: argparse.Namespace) -> int:
    from pannier_operator.injector.serve import serve  # noqa: PLC0415  # the same

    settings = injecting.settings_of(given)
    return _worked(serve(settings), settings.log_level)


def _worked(work: Coroutine[None, None, None], log_level: str) -> int:
    """Do it, and say what broke it off. Raises Unusable and OSError."""
    logs.configure(log_level)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which asyncio puts its own in place of
    spare_the_collector()
    broken: BaseException | None = None
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except* Exception as group:  # noqa: BLE001  # the outermost loop: it is told, and ends
        broken = _first(group)
    if isinstance(broken, Unusable | OSError):
        raise broken
    if broken is not None:
        log.critical("work broke off", exc_info=None if isinstance(broken, LeaseLost) else broken)
        _complain(broken)
    return 0 if broken is None else 1


def spare_the_collector() -> None:
    """Keep what a start leaves behind out of every collection, and collect less often."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _first(error: BaseException) -> BaseException:
    """The first error of those in a group, however deep."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _check(given: argparse.Namespace) -> int:
    files = tuple(chain.from_iterable(documents.read(path) for path in given.files))
    try:
        checked = Checked(of_manifests(files))
    except ConfigError as error:
        _say(str(error))
        return 1
    for line in checked.lines:
        _say(line)
    for namespace, config in checked.configs.items() if given.render else ():
        _say(f"--- {namespace}\n{model.dump(config).decode()}")
    return int(checked.refused)


def _crds(_: argparse.Namespace) -> int:
    _say(crds.FILE.read_text(encoding="utf-8").rstrip())
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(error: BaseException) -> None:
    sys.stderr.write(f"pannier-operator: {error}\n")
