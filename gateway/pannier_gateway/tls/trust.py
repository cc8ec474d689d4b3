"""The TLS of one end as it is in force: the newest files that were seen to work.

Files that can't be used, or that the other end does not accept, change nothing: what was in force
stays so, and what is wrong is told. They are tried again as long as they are there.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import time
from typing import NamedTuple

from msgspec import Struct

from pannier_gateway.errors import PannierError, StoreRefused
from pannier_gateway.tls.material import Material
from pannier_gateway.tls.sides import Side

log = logging.getLogger("pannier.tls")

LOOK_AGAIN_SECONDS = 1.0

Attempt = Callable[[ssl.SSLContext], Awaitable[None]]
"""Connects once. Raises StoreRefused where the two do not accept each other, another PannierError
where that can't be found out now."""


class InForce(NamedTuple):
    """What new connections go by."""

    material: Material
    context: ssl.SSLContext
    expiries: Mapping[str, float]
    names: frozenset[str]


class TrustState(Struct, frozen=True):
    """How a Trust stands, for whoever looks at it."""

    expires: Mapping[str, str]
    verified: bool
    problem: str | None


class Trust:
    """Gives the context for each new connection; `follow` keeps it current.

    `problem` says why newer files are not in force; `applied` and `refused` count reloads.
    """

    def __init__(
        self,
        label: str,
        side: Side,
        clock: Callable[[], float] = time,
    ) -> None:
        self.label = label
        self.problem: str | None = None
        self.applied = 0
        self.refused = 0
        self._side = side
        self._clock = clock
        self._in_force: InForce | None = None
        self._objected: tuple[str, Material | str] | None = None

    def __repr__(self) -> str:
        return f"<Trust of {self.label}: {self.problem or 'fine'}>"

    def __call__(self) -> ssl.SSLContext:
        """Raises StoreRefused as long as there were no files that could be used."""
        if self._in_force is None:
            self._in_force = self._made(self._side.read())
        return self._in_force.context

    @property
    def verified(self) -> bool:
        """Whether the other end has to prove who it is."""
        return self._side.verified

    @property
    def expiries(self) -> Mapping[str, float]:
        """When what is in force ends, in seconds since the epoch."""
        return {} if self._in_force is None else self._in_force.expiries

    @property
    def state(self) -> TrustState:
        return TrustState(
            {name: shown(end) for name, end in self.expiries.items()}, self.verified, self.problem
        )

    async def follow(self, attempt: Attempt) -> None:
        """Take up what changes in the files, until cancelled."""
        if not self.verified:
            log.warning("the store is not verified", extra={"user": self.label})
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            try:
                await self.look(attempt)
            except Exception:  # the outermost loop of a task: the next files are to be looked at
                log.exception("certificates not understood", extra={"user": self.label})

    async def look(self, attempt: Attempt) -> None:
        """Look at the files once."""
        material: Material | None = None
        try:
            material = await asyncio.to_thread(self._side.read)
            if self._in_force is None or material != self._in_force.material:
                await self._renew(material, attempt)
            self.problem = self._objected = None
        except StoreRefused as error:
            self._object(error, material, "certificates refused", refused=1)
        except PannierError as error:
            self._object(error, material, "certificates wait to be tried", refused=0)

    async def _renew(self, material: Material, attempt: Attempt) -> None:
        candidate = await asyncio.to_thread(self._made, material)
        if self._in_force is not None and not self._over(self._in_force):
            self._demand_names(self._in_force.names - candidate.names)
            await attempt(candidate.context)
        self._in_force = candidate
        self.applied += 1
        log.info("certificates taken up", extra={"user": self.label, **self.state.expires})

    def _demand_names(self, lost: Set[str]) -> None:
        """No attempt tells: who is asked may know that name, and let it do nothing.

        Raises StoreRefused.
        """
        if lost:
            raise StoreRefused(
                f"the newer certificate of {self._side.place} is not for "
                f"{' or '.join(sorted(lost))} any more: have it issued for all names of the one in "
                "force, or start the gateway anew to give some up"
            )

    def _made(self, material: Material) -> InForce:
        """Raises StoreRefused."""
        place = self._side.place
        try:
            context = self._side.context(material)
            made = InForce(material, context, material.expiries, material.names)
        except (OSError, ValueError, TypeError) as error:  # SSLError and a full disk are OSErrors
            raise StoreRefused(f"the certificates of {place} can't be used: {error}") from error
        if self._over(made):
            ended = shown(made.expiries["certificate"])
            raise StoreRefused(f"the certificate of {place} ended at {ended}: have it renewed")
        return made

    def _over(self, made: InForce) -> bool:
        return made.expiries.get("certificate", float("inf")) <= self._clock()

    def _object(
        self, error: PannierError, material: Material | None, what: str, *, refused: int
    ) -> None:
        """Tell of a problem, once for the same files, or for what is said where there are none."""
        self.problem = str(error)
        about = (what, material or self.problem)
        if self._objected != about:
            self._objected = about
            self.refused += refused
            log.warning(what, extra={"user": self.label, "error": self.problem})


class Trusts:
    """Those in use, by what each is for."""

    def __init__(self) -> None:
        self._in_use: dict[str, Trust] = {}

    def __repr__(self) -> str:
        return f"<Trusts {list(self._in_use.values())}>"

    @property
    def in_use(self) -> Mapping[str, Trust]:
        return self._in_use

    @asynccontextmanager
    async def following(self, trust: Trust, attempt: Attempt) -> AsyncIterator[None]:
        """Keep `trust` current, and show it, while the block lasts."""
        self._in_use[trust.label] = trust
        following = asyncio.create_task(trust.follow(attempt))
        try:
            yield
        finally:
            following.cancel()
            if self._in_use.get(trust.label) is trust:  # and not that of a newer configuration
                del self._in_use[trust.label]


def shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
