"""Servers side by side, all sent the same."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import closed_loop
from bench.load import Sample, Sender, Workload, sample
from bench.process import Command, Server, running
from bench.race import Race, race
from bench.settings import CONNECTIONS, Settings


@contextmanager
def started(commands: Sequence[Command], home: Path) -> Iterator[list[Server]]:
    """Run all of `commands`, each with a log in `home`."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(running(command, home / f"{command.name}.log"))
            for command in commands
        ]


@dataclass(frozen=True, slots=True)
class Arena:
    """The contenders, who sends, and for how long."""

    servers: Sequence[Server]
    send: Sender
    settings: Settings
    connections: int = CONNECTIONS

    def store(self, put: Workload) -> None:
        """Give every server the objects 0 to `put.keys` - 1, once each."""
        for server in self.servers:
            once = replace(put, method="PUT")
            closed_loop.send_count(server, once, connections=self.connections, count=put.keys)

    def race(self, workload: Workload) -> Race:
        """Every server in turn; where keys count up, each round has its own series of them."""
        return self.race_each({server.name: workload for server in self.servers})

    def race_each(self, workloads: Mapping[str, Workload]) -> Race:
        """The same, with a workload for each server, by its name."""
        turns = {
            each.name: partial(self._round, each, workloads[each.name]) for each in self.servers
        }
        return race(self.settings.rounds, turns)

    def _round(self, server: Server, workload: Workload, turn: int) -> Sample:
        own = workload if workload.keys else replace(workload, series=f"{turn}-")
        seconds = self.settings.seconds
        send = partial(self.send, server, own, connections=self.connections, seconds=seconds)
        return sample(server, send)
