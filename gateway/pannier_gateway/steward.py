"""The command `pannier-gateway lifecycle`: what S3 stores need so that they delete by themselves
what has expired, shown or put in force for a set of manifests."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry

from pannier_gateway import logs
from pannier_gateway.config.model import BucketConfig, GatewayConfig
from pannier_gateway.config.source import NOTHING, Found, source_of
from pannier_gateway.errors import PannierError
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.settings import LifecycleSettings, SettingsError, parse_lifecycle
from pannier_gateway.stores.s3.bucket import S3Bucket
from pannier_gateway.stores.s3.enactment import Enactment
from pannier_gateway.stores.s3.findings import findings, remembered
from pannier_gateway.stores.s3.lifecycle import Plan, heedless, plan
from pannier_gateway.stores.s3.opening import connected, key_prefix, own_prefix
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.stores.secrets import Secrets, secrets_of
from pannier_gateway.tls.trust import Trusts

UNPROBED = Traits(tags=True)  # taken for what it most likely is
MARKS = {"missing": "+", "other": "~"}


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit status, as `--help` tells it. Raises SettingsError and ConfigError."""
    settings = parse_lifecycle(arguments, environment)
    logs.configure("warning")
    source = source_of(settings.manifests, settings.config)
    return asyncio.run(Steward(settings, source.parse(source.read(), NOTHING)).attend())


class Steward:
    """Sees to the rules of all Buckets that the settings are about, one after the other."""

    def __init__(self, settings: LifecycleSettings, found: Found) -> None:
        self._settings = settings
        self._config = found.config
        self._contents = found.contents

    def __repr__(self) -> str:
        return f"<Steward of {list(self._config.buckets)}>"

    async def attend(self) -> int:
        """The exit status. Raises SettingsError where no such Bucket is declared."""
        buckets = chosen(self._config, self._settings.bucket)
        if not buckets:
            say("no Bucket of type S3: what expires elsewhere, gateways delete by themselves")
        status = 0
        for key, bucket in buckets.items():
            try:
                status = max(status, await self._see_to(key, bucket))
            except PannierError as error:
                complain(error)
                status = 2
        return status

    async def _see_to(self, key: str, config: BucketConfig) -> int:
        if config.access == "ReadOnly":
            say(f"Bucket {key}: left alone, it is ReadOnly")
            return 0
        with ThreadPoolExecutor(1) as pool:
            shared = Shared(ResilienceMetrics(CollectorRegistry()), lambda: 0.0, pool)
            given, secrets = Resilience(key, shared), self._secrets(config.namespace)
            async with connected(config, secrets, Trusts(), given) as bucket:
                return await self._rule(key, config, bucket)

    async def _rule(self, key: str, config: BucketConfig, bucket: S3Bucket) -> int:
        applying, enactment = self._settings.action == "apply", Enactment(bucket)
        current = await enactment.current()
        traits = await traits_of(bucket, own_prefix(config), probing=applying)
        prefix = key_prefix(config, traits)
        usecases = [each for each in self._config.usecases.values() if each.bucket == key]
        planned = plan(current, prefix, usecases, tagged=traits.tags)
        say(f"Bucket {key}, {f'keys under {prefix}' if prefix else 'all keys'}:")
        tell(planned, prefix, traits)
        if not applying:
            return int(planned.pressing)
        tell_written(planned, await enactment.enact(planned))
        return 0

    def _secrets(self, namespace: str) -> Secrets:
        beside = None if self._settings.manifests is None else lambda: self._contents
        return secrets_of(self._settings.secrets_dir, beside, namespace)


def chosen(config: GatewayConfig, name: str | None) -> dict[str, BucketConfig]:
    """The Buckets of type S3, or the one that is asked for. Raises SettingsError."""
    found = {key: each for key, each in config.buckets.items() if each.type == "S3"}
    if name is None:
        return found
    named = {key: each for key, each in found.items() if name in {key, each.name}}
    if len(named) != 1:
        raise SettingsError(
            f"--bucket {name}: {'several Buckets' if named else 'no Bucket'} of type S3 of that "
            f"name: there are {', '.join(found) or 'none'}"
        )
    return named


async def traits_of(bucket: S3Bucket, own: str, *, probing: bool) -> Traits:
    """What gateways go by at this bucket. Raises what the store answers with."""
    if probing:
        return await remembered(bucket, own, read_only=False)
    return await findings(bucket, own) or UNPROBED


def tell(planned: Plan, prefix: str, traits: Traits) -> None:
    """What is there, and what would be written."""
    for kind, ours in planned.differences:
        optional = ", if the store does that" if ours.optional else ""
        say(f"  {MARKS[kind]} {ours.id}: {ours.told}{optional}")
    if left := len(planned.current) - sum(d.kind == "other" for d in planned.differences):
        say(f"  = {left} stay as they are")
    if traits is UNPROBED:
        say("  ! no gateway has been here yet: keys and tags are taken to be kept as they are")
    if not traits.tags:
        say("  ! the store keeps no tags, so no rule could tell what has expired")
    for each in heedless(planned.current, prefix):
        say(f"  ! the rule {each!r} of others deletes here too, expired or not")


def tell_written(planned: Plan, written: Plan) -> None:
    for each in {d.ours.id for d in planned.differences} - {d.ours.id for d in written.differences}:
        say(f"  {each} is not written: the store does not keep such a rule")
    done = len(written.differences)
    say(f"  {done} written, and read back as they were written" if done else "  nothing to write")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(error: PannierError) -> None:
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    sys.stderr.write(f"pannier-gateway: lifecycle rules: {error}{notes}\n")
