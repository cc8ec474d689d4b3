"""What stands between the objects and a store's driver, in this order and for these reasons.

    replay     sends a whole upload again, so all that one try needs has to be below it
    resume     goes on with a download that had begun: there is nothing to try again above it
    retry      waits between two tries, and holds nothing meanwhile: no slot, no memory
    late       is part of one try; both of its uploads have to be within the limits
    hedge      the same, for reads
    limit      is what everything asks through, so that it sees all that the store is asked
    driver     asks one of the endpoints for each exchange: see `balance`

An error of the limit is not tried again: it says that there is too much to do already.
"""

from collections.abc import Mapping
from functools import partial
from math import inf
from typing import TypeVar

from msgspec.structs import replace

from pannier_gateway.config.model import ResilienceConfig
from pannier_gateway.errors import Overloaded, PannierError, TooLarge
from pannier_gateway.resilience.balance import Endpoints
from pannier_gateway.resilience.budget import RetryBudget
from pannier_gateway.resilience.concurrency import LimitStore, Slots
from pannier_gateway.resilience.hedge import HedgeStore
from pannier_gateway.resilience.hedging import HedgePolicy, Hedging
from pannier_gateway.resilience.lag import LagShedder
from pannier_gateway.resilience.late import Ghosts, LateStore
from pannier_gateway.resilience.replay import ReplayStore, Trying
from pannier_gateway.resilience.resume import Resumer, ResumeStore
from pannier_gateway.resilience.retry import Retrier, RetryPolicy, RetryStore
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.spool import MIB, SpoolLimits, Tape
from pannier_gateway.stores.base import Source, Store
from pannier_gateway.stores.provision import Attempt

MORE_FOR_STREAMS = 2  # attempts

E = TypeVar("E")
T = TypeVar("T")


class Resilience:
    """All of it for one bucket. What it has learned outlives changes of the configuration."""

    def __init__(self, bucket: str, shared: Shared) -> None:
        metrics, timing = shared.metrics, shared.timing
        self._shared = shared
        self._bucket = bucket
        self.budget = RetryBudget(timing.now)
        self.slots = Slots(partial(metrics.shed, bucket), LagShedder(shared.lag))
        self.retrier = Retrier(RetryPolicy(), self.budget, partial(metrics.retried, bucket), timing)
        self.uploader = Retrier(
            streamed(RetryPolicy().attempts),
            RetryBudget(timing.now),
            partial(metrics.retried, bucket),
            timing,
        )
        self.resumer = Resumer(partial(metrics.resumed, bucket), timing=timing)
        self.hedging = Hedging(
            HedgePolicy(), partial(metrics.hedged, bucket), lambda: self.slots.roomy
        )
        self.ghosts = Ghosts()
        metrics.watch(bucket, self)

    def __repr__(self) -> str:
        return f"<Resilience of {self._bucket}: {self.budget}, {self.slots}>"

    def obey(self, config: ResilienceConfig) -> None:
        """From now on these count, for what is under way as well; None: the default."""
        attempts = RetryPolicy().attempts if config.attempts is None else config.attempts
        self.retrier.policy = replace(self.retrier.policy, attempts=attempts)
        self.uploader.policy = streamed(attempts)
        hedging = HedgePolicy().enabled if config.hedging is None else config.hedging
        uploads = config.hedging is True  # by default nobody's write may come after a later one
        self.hedging.policy = replace(self.hedging.policy, enabled=hedging, uploads=uploads)
        stalls = self.resumer.stalls
        stalls.policy = replace(stalls.policy, enabled=hedging)

    def around(self, store: Store, *, sends_parts_again: bool = False) -> Store:
        """`store`, with all of this around it.

        A driver that sends parts again by itself (through `uploader`) spares streamed bodies the
        spool, which costs as much as sending them.
        """
        metrics, bucket, shared = self._shared.metrics, self._bucket, self._shared
        limited = LimitStore(store, self.slots, shared.bodies)
        hedged = LateStore(HedgeStore(limited, self.hedging), self.hedging, self.ghosts)
        retried = RetryStore(hedged, self.retrier)
        return ReplayStore(
            ResumeStore(retried, self.resumer),
            Trying(self.retrier, self.uploader),
            shared.no_spool if sends_parts_again else shared.spool,
            nobody if sends_parts_again else partial(metrics.unreplayable, bucket),
            partial(metrics.sought, bucket),
        )

    # What the driver is given: see `stores.provision`

    def among(self, targets: Mapping[str, E]) -> Endpoints[E]:
        metrics, bucket = self._shared.metrics, self._bucket
        count = partial(metrics.breaker, bucket)
        endpoints = Endpoints(f"Bucket {bucket}", targets, count, self._shared.timing)
        metrics.watch_endpoints(bucket, endpoints.shown)
        return endpoints

    async def again(
        self, attempt: Attempt[T], size: int | None = None, path: str | None = None
    ) -> T:
        send = attempt if size is None else partial(self._sent, attempt, size, path)
        return await self.uploader.run("put", send)

    async def _sent(self, attempt: Attempt[T], size: int, path: str | None) -> T:
        return await self.ghosts.sent(self.hedging, size, path, attempt)

    async def keep(self, source: Source) -> Tape:
        torn: list[str] = []
        tape = Tape(source, self._shared.parts, torn.append)
        try:
            async for piece in tape:
                del piece  # it is on record
                if torn:
                    raise not_kept(torn[0], self._shared.parts.limits)
        except BaseException:
            await tape.close()
            raise
        return tape

    # What is shown

    @property
    def coins(self) -> float:
        return self.budget.coins

    @property
    def limit(self) -> float:
        return self.slots.gradient.limit

    @property
    def in_flight(self) -> float:
        return self.slots.in_flight

    @property
    def waiting(self) -> float:
        return len(self.slots.queue)

    @property
    def hedge_delay(self) -> float:
        return self.hedging.delay(self.hedging.open)


def not_kept(reason: str, limits: SpoolLimits) -> PannierError:
    """The error for a part of a body that there is no room for, now or ever."""
    if reason != "too large":
        return Overloaded("there is no room to keep a part of the body: ask again")
    return TooLarge(
        "objects of this size are sent in parts that are kept meanwhile, and a part has come to "
        f"over the {limits.disk_each // MIB} MiB that there are for one: send less, or give the "
        "gateway four times the size of its parts (--spool-size)"
    )


def nobody(_: str) -> None:
    """For whom it is no news that an upload can't be sent again."""


def streamed(attempts: int) -> RetryPolicy:
    """For uploads that are streamed: a store that starts anew is waited for, as with downloads.

    Sending a body takes as long as it does, so only the attempts are limited.
    """
    more = attempts + MORE_FOR_STREAMS if attempts > 1 else 1
    return RetryPolicy(attempts=more, base=0.2, cap=10.0, deadline=inf)
