"""Lifecycle rules are put in force, and taken back where the engine does not keep them as written.

A store takes all rules of a bucket at once, and some drop of a rule what they do not know. One that
has lost its filter would delete everything, so each is written in a form that does nothing first,
and what the store then tells of it decides. Others may write rules at the same time, and S3 knows
no condition against that: it is looked for before the first write and after each.
"""

import asyncio
from collections.abc import Awaitable, Callable

from pannier_gateway.errors import (
    BadRequest,
    PannierError,
    StoreMisanswered,
    StoreRefused,
    StoreUnavailable,
)
from pannier_gateway.stores.s3.answers import NotXml
from pannier_gateway.stores.s3.bucket import NO_HEADERS, Headers, Lifecycle, S3Bucket
from pannier_gateway.stores.s3.lifecycle import NO_RULES, Plan, Rules, document, read, same

NOT_TAKEN_BACK = "and the rules that were written could not be taken back"
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds: it may take a store a while to tell what it was told


class Enactment:
    """Reads and writes the rules of one bucket."""

    def __init__(
        self, bucket: S3Bucket, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._bucket = bucket
        self._sleep = sleep
        self._beside: Headers = NO_HEADERS  # told with the rules, and to be given back with them

    def __repr__(self) -> str:
        return f"<Enactment at {self._bucket.place}>"

    async def current(self) -> Rules:
        """The rules that there are. Raises what the store answers with."""
        told = await self._bucket.lifecycle()
        if told is None:
            return NO_RULES
        self._beside = told.headers
        try:
            return read(told.text)
        except NotXml as error:
            raise StoreMisanswered(f"{self._bucket.place}: lifecycle rules: {error}") from error

    async def enact(self, plan: Plan) -> Plan:
        """Put in force what is planned, or what is necessary of it where the store does not keep
        the rest; gives what was written.

        Raises what the store answers with, StoreRefused where it does not keep the rules, and
        StoreUnavailable where somebody else changes them. Ours are as they were before then, unless
        the error says otherwise.
        """
        try:
            await self._enact(plan)
        except (StoreRefused, BadRequest):
            if plan.necessary == plan:
                raise
            plan = plan.necessary
            await self._enact(plan)
        return plan

    async def _enact(self, plan: Plan) -> None:
        if not plan.differences:
            return
        if not same(await self.current(), plan.current):
            raise self._changed()
        try:
            await self._write(plan.rehearsal, plan.current)
            await self._write(plan.rules, plan.current, plan.rehearsal)
        except PannierError as error:
            await self._take_back(plan, error)
            error.add_note("the rules are as they were before")
            raise

    async def _write(self, rules: Rules, *earlier: Rules) -> None:
        """Have `rules`, and see that they are kept; `earlier` is what there was, first to last."""
        await self._send(rules)
        told = await self._told(*earlier)
        means = {each.meaning for each in told}
        for rule in rules:
            if rule.meaning not in means and rule not in earlier[0]:
                found = next((each.xml for each in told if each.id == rule.id), "nothing")
                raise StoreRefused(
                    f"{self._bucket.place} does not keep lifecycle rules as they are written: "
                    f"of {rule.xml} it tells {found}"
                )
        if not same(told, rules):
            raise self._changed()

    async def _told(self, *earlier: Rules) -> Rules:
        """What the store tells of its rules, once that is something else than earlier."""
        for seconds in PAUSES:
            told = await self.current()
            if not any(same(told, each) for each in earlier):
                return told
            await self._sleep(seconds)
        return await self.current()

    async def _send(self, rules: Rules) -> None:
        if rules:
            await self._bucket.set_lifecycle(Lifecycle(document(rules), self._beside))
        else:
            await self._bucket.drop_lifecycle()

    async def _take_back(self, plan: Plan, because: PannierError) -> None:
        """Have our rules as they were before, and those of others as they are now.

        Raises StoreUnavailable where that can't be done.
        """
        try:
            now = await self.current()
            rules = plan.withdrawn(now)
            if not same(now, rules):
                await self._send(rules)
                now = await self._told(now)
        except PannierError as error:
            raise StoreUnavailable(f"{because}; {NOT_TAKEN_BACK}: {error}") from because
        if not same(now, rules):
            raise StoreUnavailable(f"{because}; {NOT_TAKEN_BACK}: look at them") from because

    def _changed(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._bucket.place}: the lifecycle rules of others are not what they just were: "
            "somebody changes them; run this again"
        )
