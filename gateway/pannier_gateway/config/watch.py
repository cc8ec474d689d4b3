"""The configuration in force, and how it follows its file or directory.

A change is read and checked aside and then takes effect at once, as one pointer; whoever holds the
old configuration keeps it. What cannot be used changes nothing: the last good configuration stays.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple, Protocol

import watchfiles

from pannier_gateway.config import documents, model, resources
from pannier_gateway.config.documents import Files
from pannier_gateway.config.model import GatewayConfig, digest
from pannier_gateway.config.problems import ConfigError, ManifestErrors
from pannier_gateway.config.render import Verdict, render
from pannier_gateway.config.resources import Bucket, Usecase, changes

log = logging.getLogger("pannier.config")

POLL_SECONDS = 10.0


class Source(Protocol):
    """Where configuration comes from. Both methods raise ConfigError and may block."""

    @property
    def path(self) -> Path: ...

    def read(self) -> Files: ...

    def parse(self, files: Files) -> GatewayConfig: ...


class Observer(Protocol):
    """Who counts what becomes of each new content; called on the event loop."""

    def applied(self, config: GatewayConfig, digest: str) -> None: ...

    def refused(self, error: ConfigError) -> None: ...


class ConfigFile:
    """A configuration as the operator writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Files:
        try:
            return ((str(self.path), self.path.read_bytes()),)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from error

    def parse(self, files: Files) -> GatewayConfig:
        ((_, data),) = files
        try:
            return model.parse(data)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error} (--manifests takes manifests)") from error


class ManifestSource:
    """A file or directory of manifests, rendered here; the generation counts what was accepted.

    A refused resource is left out, unless it is being served: then the whole change waits, for a
    mistake should not take away what works. So does one that changes what a cluster would not let
    change: a Usecase whose bucketRef moves would lose sight of its objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: GatewayConfig | None = None
        self._resources: dict[tuple[type, str], Usecase | Bucket] = {}
        self._served: frozenset[tuple[str, str, str]] = frozenset()

    def read(self) -> Files:
        return documents.read(self.path)

    def parse(self, files: Files) -> GatewayConfig:
        manifests = resources.parse_files(files)
        found = {(type(each), each.metadata.key): each for each in manifests.resources}
        self._compare(found)
        generation = 1 if self._last is None else self._last.generation + 1
        config, verdicts = render(manifests.buckets, manifests.usecases, generation)
        self._judge([verdict for verdict in verdicts if not verdict.accepted])
        for note in manifests.ignored:
            log.info("document ignored", extra={"document": note})
        self._served = frozenset(verdict[:3] for verdict in verdicts if verdict.accepted)
        self._resources = found
        if self._last is None or digest(config) != digest(self._last):
            self._last = config
        return self._last

    def _compare(self, found: dict[tuple[type, str], Usecase | Bucket]) -> None:
        kept = self._resources.keys() & found.keys()
        if moved := [p for key in kept for p in changes(self._resources[key], found[key])]:
            raise ManifestErrors(moved)

    def _judge(self, refused: list[Verdict]) -> None:
        lost = [_words(verdict) for verdict in refused if verdict[:3] in self._served]
        if lost:
            raise ConfigError("\n".join(lost))
        for verdict in refused:
            log.warning("resource refused", extra=_fields(verdict))


class _Look(NamedTuple):
    """What was found, and what it comes to; `seen` is text where nothing could be read."""

    seen: Files | str
    outcome: tuple[GatewayConfig, str] | ConfigError


def _look(source: Source, seen: Files | str) -> _Look | None:
    """What `source` has that was not `seen` already."""
    try:
        files = source.read()
    except ConfigError as error:
        return None if str(error) == seen else _Look(str(error), error)
    if files == seen:
        return None
    try:
        config = source.parse(files)
    except ConfigError as error:
        return _Look(files, error)
    except Exception as error:  # noqa: BLE001 - whatever a file holds, the last good one stays
        return _Look(files, ConfigError(f"{source.path}: {type(error).__name__}: {error}"))
    return _Look(files, (config, digest(config)))


class ConfigWatch:
    """Owns the configuration in force.

    Reads it once when made, raising ConfigError if it cannot be used; `run` follows its changes.
    """

    def __init__(
        self, source: Source, observer: Observer, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._source = source
        self._observer = observer
        self._poll_seconds = poll_seconds
        self._subscribers: list[Callable[[GatewayConfig], None]] = []
        self._reloading = asyncio.Lock()
        self._seen: Files | str = source.read()
        self._current = source.parse(self._seen)
        self._digest = digest(self._current)
        self._tell_applied(None)

    def __repr__(self) -> str:
        return f"<ConfigWatch {self._source.path} generation={self._current.generation}>"

    @property
    def current(self) -> GatewayConfig:
        """The configuration in force; hold on to it for as long as one request lasts."""
        return self._current

    @property
    def digest(self) -> str:
        """The digest of `current`."""
        return self._digest

    def subscribe(self, subscriber: Callable[[GatewayConfig], None]) -> None:
        """Have `subscriber` called on the event loop with each configuration that takes effect."""
        self._subscribers.append(subscriber)

    async def run(self) -> None:
        """Follow changes until cancelled."""
        async with aclosing(self._wakes()) as wakes:
            async for _ in wakes:
                await self.reload()

    async def reload(self) -> None:
        """Read again; content not seen before is applied or refused, and told once."""
        async with self._reloading:
            look = await asyncio.to_thread(_look, self._source, self._seen)
            if look is None:
                return
            self._seen = look.seen
            match look.outcome:
                case ConfigError() as error:
                    self._refuse(error)
                case (config, new_digest):
                    self._apply(config, new_digest)

    async def _wakes(self) -> AsyncGenerator[None, None]:
        """One item per change in the folder, and per poll: some file systems tell of no change."""
        path = self._source.path
        changes = watchfiles.awatch(
            path if path.is_dir() else path.parent,
            watch_filter=None,
            recursive=False,
            rust_timeout=int(self._poll_seconds * 1000),
            yield_on_timeout=True,
        )
        try:
            async with aclosing(changes):
                async for _ in changes:
                    yield
        except (OSError, RuntimeError) as error:  # out of inotify watches, or no such folder by now
            log.warning("folder not watched", extra={"path": str(path), "error": str(error)})
        while True:
            await asyncio.sleep(self._poll_seconds)
            yield

    def _apply(self, config: GatewayConfig, new_digest: str) -> None:
        if new_digest == self._digest:
            log.info("configuration unchanged", extra={"generation": self._current.generation})
            return
        before, self._current, self._digest = self._current, config, new_digest
        self._tell_applied(before)
        for subscriber in self._subscribers:
            subscriber(config)

    def _tell_applied(self, before: GatewayConfig | None) -> None:
        log.info(
            "configuration applied",
            extra={
                "generation": self._current.generation,
                "digest": self._digest,
                "changes": difference(before, self._current),
            },
        )
        self._observer.applied(self._current, self._digest)

    def _refuse(self, error: ConfigError) -> None:
        kept = self._current.generation
        log.error("configuration refused", extra={"generation": kept, "error": str(error)})
        self._observer.refused(error)


def difference(before: GatewayConfig | None, after: GatewayConfig) -> str:
    """What `after` adds, removes and changes, as in `usecases +media -old ~sessions`."""
    usecases = _signed({} if before is None else before.usecases, after.usecases)
    buckets = _signed({} if before is None else before.buckets, after.buckets)
    parts = [("usecases", usecases), ("buckets", buckets)]
    return " ".join(word for name, signed in parts if signed for word in (name, *signed))


def _signed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    both = before.keys() & after.keys()
    return [
        *(f"+{name}" for name in sorted(after.keys() - both)),
        *(f"-{name}" for name in sorted(before.keys() - both)),
        *(f"~{name}" for name in sorted(both) if before[name] != after[name]),
    ]


def _words(verdict: Verdict) -> str:
    return f"{_resource(verdict)}: {verdict.reason}: {verdict.message}"


def _fields(verdict: Verdict) -> dict[str, str]:
    return {
        "resource": _resource(verdict),
        "reason": str(verdict.reason),
        "error": verdict.message,
    }


def _resource(verdict: Verdict) -> str:
    return f"{verdict.kind} {verdict.namespace}/{verdict.name}"
