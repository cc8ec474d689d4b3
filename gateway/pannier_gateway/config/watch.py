"""The configuration in force, and how it follows its file or directory.

A change is read and checked aside and then takes effect at once, as one pointer; whoever holds the
old configuration keeps it. What cannot be used changes nothing: the last good configuration stays.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple, Protocol

import watchfiles
from msgspec.structs import replace

from pannier_gateway.config.documents import Files
from pannier_gateway.config.model import GatewayConfig, digest
from pannier_gateway.config.problems import ConfigAbsent, ConfigError
from pannier_gateway.config.source import NOTHING, Found, LeftOut, Source

log = logging.getLogger("pannier.config")

POLL_SECONDS = 10.0


class Observer(Protocol):
    """Who counts what becomes of each new content; called on the event loop."""

    def applied(self, config: GatewayConfig, digest: str) -> None: ...

    def refused(self, error: ConfigError) -> None: ...


class _Look(NamedTuple):
    """What was seen, and what it comes to; `seen` is text where nothing could be read."""

    seen: Files | str
    outcome: tuple[Found, str] | ConfigError


def _look(source: Source, seen: Files | str, before: Found) -> _Look | None:
    """What `source` has that was not `seen` already, as a change of what was in force `before`."""
    try:
        files = source.read()
    except ConfigError as error:
        return None if str(error) == seen else _Look(str(error), error)
    if files == seen:
        return None
    try:
        found = source.parse(files, before)
    except ConfigError as error:
        return _Look(files, error)
    except Exception as error:  # a bug of ours: whatever a file holds, the last good one stays
        log.exception("configuration not understood", extra={"path": str(source.path)})
        return _Look(files, ConfigError(f"{source.path}: {type(error).__name__}: {error}"))
    return _Look(files, (found, digest(found.config)))


class ConfigWatch:
    """Owns the configuration in force.

    Reads it once when made; where it cannot be used then, a patient source is waited for with
    nothing in force, any other raises ConfigError. `run` follows the changes.
    """

    def __init__(
        self, source: Source, observer: Observer, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._source = source
        self._observer = observer
        self._poll_seconds = poll_seconds
        self._subscribers: list[Callable[[GatewayConfig], None]] = []
        self._reloading = asyncio.Lock()
        self._nudged = asyncio.Event()
        self._seen: Files | str = ""
        self._found = NOTHING
        self._digest = ""
        self.problem: str | None = None  # why what the source holds now is not in force
        look = _look(source, self._seen, self._found)
        if look is not None and isinstance(look.outcome, ConfigError) and not source.patient:
            raise look.outcome
        self._take(look)

    def __repr__(self) -> str:
        return f"<ConfigWatch {self._source.path} generation={self.current.generation}>"

    @property
    def current(self) -> GatewayConfig:
        """The configuration in force; hold on to it for as long as one request lasts."""
        return self._found.config

    @property
    def refused(self) -> tuple[LeftOut, ...]:
        """What had to be left out of `current`."""
        return self._found.refused

    @property
    def contents(self) -> Mapping[str, Mapping[str, bytes]]:
        """Of the Secrets and ConfigMaps beside `current`, by `namespace/name` and key."""
        return self._found.contents

    @property
    def digest(self) -> str:
        """The digest of `current`; empty while nothing has been in force yet."""
        return self._digest

    def subscribe(self, subscriber: Callable[[GatewayConfig], None]) -> None:
        """Have `subscriber` called on the event loop with each configuration that takes effect."""
        self._subscribers.append(subscriber)

    async def run(self) -> None:
        """Follow changes until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._heed_nudges())
            await asyncio.sleep(0)  # its first step: notifications are on
            await self.reload()  # what changed before that

    def nudge(self) -> None:
        """Have `run` read again now, for whoever will not wait until a change is noticed."""
        self._nudged.set()

    async def reload(self) -> None:
        """Read again; content not seen before is applied or refused, and told once."""
        async with self._reloading:
            self._take(await asyncio.to_thread(_look, self._source, self._seen, self._found))

    async def _follow(self) -> None:
        async with aclosing(self._wakes()) as wakes:
            async for _ in wakes:
                await self.reload()

    async def _heed_nudges(self) -> None:
        while await self._nudged.wait():
            self._nudged.clear()
            log.info("configuration read again", extra={"path": str(self._source.path)})
            await self.reload()

    def _take(self, look: _Look | None) -> None:
        if look is None:
            return
        self._seen = look.seen
        match look.outcome:
            case ConfigError() as error:
                self._refuse(error)
            case (found, new_digest):
                self._apply(found, new_digest)

    async def _wakes(self) -> AsyncGenerator[None, None]:
        """One item per change in the folder, and per poll: some file systems tell of no change."""
        told = ""
        while True:
            try:
                async with aclosing(self._notifications()) as notifications:
                    async for _ in notifications:
                        yield
            except (OSError, RuntimeError) as error:  # out of inotify watches, or no such folder
                if str(error) != told:
                    told = str(error)
                    fields = {"path": str(self._source.path), "error": told}
                    log.warning("folder not watched", extra=fields)
            await asyncio.sleep(self._poll_seconds)
            yield

    def _notifications(self) -> AsyncGenerator[object, None]:
        path = self._source.path
        return watchfiles.awatch(
            path if path.is_dir() else path.parent,
            watch_filter=None,
            recursive=False,
            rust_timeout=int(self._poll_seconds * 1000),
            yield_on_timeout=True,
        )

    def _apply(self, found: Found, new_digest: str) -> None:
        before, known = self._found, new_digest == self._digest
        fresh = not self._digest and self.problem is None  # whether it serves is yet to be seen
        same = "configuration usable again" if self.problem else "configuration unchanged"
        self.problem, self._digest = None, new_digest
        self._found = replace(found, config=before.config) if known else found
        fields: dict[str, object] = {"generation": self.current.generation}
        if known and found.refused == before.refused:
            log.info(same, extra=fields)
            return
        fields |= {"digest": new_digest, "changes": difference(before.config, self.current)}
        if not fresh:
            log.info("configuration applied", extra=fields)
        self._observer.applied(self.current, new_digest)
        for subscriber in self._subscribers:
            subscriber(self.current)

    def _refuse(self, error: ConfigError) -> None:
        self.problem = str(error)
        if isinstance(error, ConfigAbsent) and not self._digest:
            return  # it was never there: nothing is wrong yet
        kept = self.current.generation
        log.error("configuration refused", extra={"generation": kept, "error": str(error)})
        self._observer.refused(error)


def difference(before: GatewayConfig, after: GatewayConfig) -> str:
    """What `after` adds, removes and changes, as in `usecases +media -old ~sessions`."""
    usecases = _signed(before.usecases, after.usecases)
    parts = [("usecases", usecases), ("buckets", _signed(before.buckets, after.buckets))]
    return " ".join(word for name, signed in parts if signed for word in (name, *signed))


def _signed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    both = before.keys() & after.keys()
    return [
        *(f"+{name}" for name in sorted(after.keys() - both)),
        *(f"-{name}" for name in sorted(before.keys() - both)),
        *(f"~{name}" for name in sorted(both) if before[name] != after[name]),
    ]
