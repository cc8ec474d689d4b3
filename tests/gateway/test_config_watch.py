"""The configuration in force follows its files: real directories, real notifications."""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from pannier_gateway.config import watch
from pannier_gateway.config.model import GatewayConfig, digest, dump
from pannier_gateway.config.problems import ConfigError
from pannier_gateway.config.render import render
from pannier_gateway.config.watch import ConfigFile, ConfigWatch, ManifestSource, difference
from support.manifests import Json, bucket, parsed, usecase

NEVER, SOON = 3600.0, 0.01  # seconds between two polls


class Outcome(NamedTuple):
    """What an observer was told; one of the two."""

    config: GatewayConfig | None = None
    error: ConfigError | None = None


class Outcomes:
    """An observer to wait on."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Outcome] = asyncio.Queue()

    def applied(self, config: GatewayConfig, digest_: str) -> None:
        assert digest_ == digest(config)
        self.told.put_nowait(Outcome(config=config))

    def refused(self, error: ConfigError) -> None:
        self.told.put_nowait(Outcome(error=error))

    async def next(self) -> Outcome:
        return await self.told.get()

    async def next_names(self) -> set[str]:
        outcome = await self.next()
        assert outcome.config is not None, outcome.error
        return set(outcome.config.usecases)


def config(*usecases: str) -> GatewayConfig:
    manifests = parsed(bucket(), *map(usecase, usecases))
    return render(manifests.buckets, manifests.usecases)[0]


def manifest_text(*objects: Json) -> bytes:
    return msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": objects})


def replace(path: Path, data: bytes) -> None:
    """As a careful writer does it: whole, or not at all."""
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").replace(path)


class Mount:
    """A directory as a kubelet keeps it for a ConfigMap volume: `config.json -> ..data/config.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = 0

    def write(self, data: bytes) -> None:
        old, self._version = self._version, self._version + 1
        folder = self.path / f"..{self._version}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(data)
        (self.path / "..data_tmp").symlink_to(folder.name)
        (self.path / "..data_tmp").replace(self.path / "..data")
        if old:
            shutil.rmtree(self.path / f"..{old}")
        else:
            (self.path / "config.json").symlink_to("..data/config.json")


@asynccontextmanager
async def following(watch_: ConfigWatch) -> AsyncIterator[None]:
    """`watch_` at work; its first step, taken here, puts the notifications in place."""
    task = asyncio.create_task(watch_.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def watched(path: Path, outcomes: Outcomes, poll_seconds: float = NEVER) -> ConfigWatch:
    """A watch over the configuration at `path`, its first outcome taken."""
    source = ConfigFile(path) if path.suffix == ".json" else ManifestSource(path)
    found = ConfigWatch(source, outcomes, poll_seconds)
    await outcomes.next()
    return found
