"""What all buckets have in common: memory, disk, and the event loop."""

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from tempfile import gettempdir

from msgspec.structs import replace

from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.concurrency import BodyBudget
from pannier_gateway.resilience.retry import TIMING, Timing
from pannier_gateway.resilience.spool import MIB, Spool, SpoolLimits

PARTS = SpoolLimits(memory_each=8 * MIB, memory=16 * MIB, disk_each=512 * MIB)  # of uploads


class Shared:
    """`lag` tells by how many seconds the loop is late, `folder` where spools lie."""

    def __init__(
        self,
        metrics: ResilienceMetrics,
        lag: Callable[[], float],
        executor: Executor,
        folder: Path | None = None,
        timing: Timing = TIMING,
    ) -> None:
        self.metrics = metrics
        self.lag = lag
        self.timing = timing
        self.bodies = BodyBudget(partial(metrics.shed, ""))
        self.spool = Spool(folder or Path(gettempdir()), executor)
        self.parts = Spool(self.spool.folder, executor, PARTS)
        self.no_spool = Spool(self.spool.folder, executor, SpoolLimits(0, 0, 0, 0))
        metrics.watch_bytes("memory", lambda: self.bodies.used)
        metrics.watch_bytes("spool in memory", lambda: self.spool.memory + self.parts.memory)
        metrics.watch_bytes("spool on disk", lambda: self.spool.disk + self.parts.disk)

    def __repr__(self) -> str:
        return f"<Shared {self.bodies}, {self.spool}>"

    def allot(self, size: int) -> None:
        """Of `size` bytes on disk both spools may take half together: objects need the rest."""
        for spool in (self.spool, self.parts):
            spool.limits = replace(spool.limits, disk_each=size // 4, disk=size // 4)
