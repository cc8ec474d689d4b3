"""Several processes on the same ports, for one Python process serves one core.

Each worker is a gateway like any other that is told where to listen; the kernel spreads connections
over them. The supervisor starts them, starts anew what has died, and ends them together.
"""

import asyncio
import ctypes
import logging
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from msgspec import Struct

from pannier_gateway.admin import serving
from pannier_gateway.backoff import Backoff
from pannier_gateway.listeners import bind, url
from pannier_gateway.overview import Overview
from pannier_gateway.settings import Address, Settings
from pannier_gateway.signals import INTERRUPTED, heed

log = logging.getLogger("pannier.supervisor")

READY = re.compile(r"pannier-gateway ready: .* admin (http://\S+)")
REVIVAL = Backoff(first=0.5, longest=30.0)  # of a worker that has died
LONG_LIFE = 60.0  # seconds after which a death counts as the first again
GRACE_SECONDS = 5.0  # beyond the drain, after which a worker is killed
PR_SET_PDEATHSIG = 1


class Ports(Struct, frozen=True):
    """What all workers listen at: in words, and as their arguments."""

    shown: str
    arguments: tuple[str, ...]


async def supervise(settings: Settings, arguments: Sequence[str]) -> int:
    """Run workers until SIGINT or SIGTERM; the exit status. Raises SettingsError.

    It is that of the first worker where that ends before it serves: it has said why.
    """
    overview = Overview()
    with ports(settings) as shared:
        own = (*arguments, *shared.arguments, "--workers=1", "--admin-listen=127.0.0.1:0")
        supervisor = Supervisor(settings, own, overview)
        heed(supervisor.ending, supervisor.end_at_once)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.reload)
        async with (
            overview.asking(),
            serving(overview, settings.admin_listen) as admin_at,
        ):
            await supervisor.run(f"data {shared.shown} admin {admin_at}")
    return supervisor.status


class Supervisor:
    """Keeps so many workers running, until `ending` has all finish what is in flight, and end."""

    def __init__(self, settings: Settings, arguments: Sequence[str], overview: Overview) -> None:
        self.status = 0
        self.ending = asyncio.Event()
        self._settings = settings
        self._arguments = arguments
        self._overview = overview
        self._running: dict[int, Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Supervisor of {sorted(self._running)}>"

    def end_at_once(self) -> None:
        """Whatever is in flight."""
        self.status = INTERRUPTED
        for process in self._alive():
            process.kill()

    def reload(self) -> None:
        """Have the workers read the configuration again; one that is yet to start reads it then."""
        for number, process in self._running.items():
            if number in self._overview.ready and process.returncode is None:
                process.send_signal(signal.SIGHUP)

    async def run(self, where: str) -> None:
        """Until all have ended; `where` is for the line that says that they serve."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._end_them())
            first, *others = [asyncio.Event() for _ in range(self._settings.workers)]
            self._keepers.append(group.create_task(self._keep(1, first)))
            await first.wait()  # so that a mistake is told once
            for number, up in enumerate(others, 2):
                self._keepers.append(group.create_task(self._keep(number, up)))
            for up in others:
                await up.wait()
            if not self.ending.is_set():
                self._overview.whole = True
                print(f"pannier-gateway ready: {where}", flush=True)  # noqa: T201

    async def _keep(self, number: int, up: asyncio.Event) -> None:
        """Start one, and anew whenever it dies; `up` when it has served, or never will."""
        deaths = 0  # in a row
        try:
            while not self.ending.is_set():
                born = asyncio.get_running_loop().time()
                status = await self._live(number, up)
                if self.ending.is_set():
                    return
                if number == 1 and not up.is_set():
                    self.status = max(status, 1)
                    self.ending.set()
                    return
                log.error("worker died", extra={"worker": number, "status": status})
                if asyncio.get_running_loop().time() - born > LONG_LIFE:
                    deaths = 0
                await self._rest(REVIVAL.after(deaths))
                deaths += 1
        finally:
            up.set()

    async def _live(self, number: int, up: asyncio.Event) -> int:
        """The life of one process; its exit status."""
        process = await self._start(number)
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                if found := READY.match(line.decode()):
                    self._overview.ready[number] = found[1]
                    self._overview.up.labels(number).set(1)
                    up.set()
            return await process.wait()
        finally:
            self._overview.ready.pop(number, None)
            self._overview.up.labels(number).set(0)
            del self._running[number]

    async def _start(self, number: int) -> Process:
        command = (sys.executable, "-m", "pannier_gateway", *self._arguments, f"--worker={number}")
        parent = os.getpid()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, preexec_fn=lambda: end_with(parent), start_new_session=True
        )  # what the terminal tells, the supervisor hears alone
        self._running[number] = process
        self._overview.starts.labels(number).inc()
        if self.ending.is_set():
            process.terminate()
        return process

    async def _rest(self, seconds: float) -> None:
        """Unless it is told to end meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.ending.wait()
        except TimeoutError:
            return

    async def _end_them(self) -> None:
        await self.ending.wait()
        self._overview.draining = True
        for process in self._alive():
            process.terminate()
        await asyncio.wait(self._keepers, timeout=self._settings.drain + GRACE_SECONDS)
        for process in self._alive():  # among them those that were just being started then
            log.error("worker killed", extra={"pid": process.pid})
            process.kill()

    def _alive(self) -> list[Process]:
        return [each for each in self._running.values() if each.returncode is None]


@contextmanager
def ports(settings: Settings) -> Iterator[Ports]:
    """Find the ports, and keep them for the workers. Raises SettingsError where one is taken."""
    asked = [("--listen", settings.listen, "http")]
    if settings.hub is not None:
        asked.append(("--tls-listen", settings.hub.tls_listen, "https"))
    shown, arguments = [], []
    with ExitStack() as held:
        for option, address, scheme in asked:
            bind(address, option).close()  # the shared one could be had beside other workers' too
            port = held.enter_context(bind(address, option, shared=True))
            arguments.append(f"{option}={Address(*port.getsockname()[:2])}")
            shown.append(url(port, scheme))
        yield Ports(" tls ".join(shown), tuple(arguments))


def end_with(parent: int) -> None:
    """In a new worker: end when the supervisor dies, however suddenly. Linux alone has that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)  # it has died already
