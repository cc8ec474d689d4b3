"""The supervisor of workers, in this process, where an end can come at any moment of a start."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pannier_gateway import supervisor as module
from pannier_gateway.overview import Overview
from pannier_gateway.settings import parse_settings
from pannier_gateway.supervisor import Supervisor


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers that don't heed SIGTERM: no gateway would do that every time."""
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\nexec sleep 60\n")
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.1)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as what they are born with
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("stubborn")
async def test_a_worker_that_is_just_being_started_is_killed_as_the_others_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = parse_settings(["--manifests", "m.yaml", "--workers", "1", "--drain", "0"], {})
    supervisor = Supervisor(settings, (), Overview())
    running = asyncio.create_task(supervisor.run("nowhere"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert repr(supervisor) == "<Supervisor of []>"

    supervisor.ending.set()
    async with asyncio.timeout(10):
        await running

    assert "worker killed" in caplog.messages
