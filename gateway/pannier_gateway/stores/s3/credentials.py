"""Where the key pair comes from: a Secret, the surroundings, or nowhere."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Protocol

from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.s3.signing import Credentials
from pannier_gateway.stores.secrets import Secrets

LOOK_AGAIN_SECONDS = 1.0
ASK_AGAIN_SECONDS = 30.0  # the surroundings; what they give for a time is renewed minutes before
NO_PAIR = "the surroundings give no S3 key pair (s3.auth.mode: Ambient)"

Ask = Callable[[], Credentials]


class CredentialSource(Protocol):
    """Gives the key pair of now; None: requests are not signed."""

    async def current(self) -> Credentials | None:
        """Raises StoreRefused when there is none to be had."""
        ...


class Anonymous:
    """For stores that ask for none."""

    async def current(self) -> None:
        return None


class FromSecret:
    """The key pair in a Secret, read again every second.

    A pair that can't be read, or half of one, leaves the last good one in force.
    """

    def __init__(self, secrets: Secrets, name: str, access_key: str, secret_key: str) -> None:
        self._secrets = secrets
        self._name = name
        self._keys = (access_key, secret_key)
        self._pair: Credentials | None = None
        self._looked = 0.0

    def __repr__(self) -> str:
        return f"<FromSecret {self._name}>"

    async def current(self) -> Credentials:
        if self._pair is None:
            self._pair = self._read()
            self._looked = monotonic()
        elif monotonic() - self._looked >= LOOK_AGAIN_SECONDS:
            self._looked = monotonic()
            with suppress(StoreRefused):
                self._pair = self._read()
        return self._pair

    def _read(self) -> Credentials:
        """Raises StoreRefused."""
        found = [self._secrets.read(self._name, key) for key in self._keys]
        access, secret = (each.decode(errors="replace").strip() for each in found)
        if not (access and secret):
            raise StoreRefused(f"the Secret {self._name} has an empty key: fill in {self._keys}")
        return Credentials(access, secret)


class Ambient:
    """What the surroundings give, by way of botocore: environment, web identity, instance roles.

    botocore is imported for this alone, and refreshes what is temporary. Where it fails to, the
    last good pair stays in force.
    """

    def __init__(self, load: Callable[[], Ask] | None = None) -> None:
        self._load = load or load_with_botocore
        self._ask: Ask | None = None
        self._pair: Credentials | None = None
        self._looked = 0.0
        self._turn = asyncio.Lock()

    async def current(self) -> Credentials:
        if self._is_due():
            async with self._turn:
                if self._is_due():  # else whoever was before us has asked
                    await self._look()
        assert self._pair is not None
        return self._pair

    def _is_due(self) -> bool:
        return self._pair is None or monotonic() - self._looked >= ASK_AGAIN_SECONDS

    async def _look(self) -> None:
        """Raises StoreRefused where there was no pair before."""
        self._looked = monotonic()
        try:
            self._pair = await asyncio.to_thread(self._asked)
        except StoreRefused:
            if self._pair is None:
                raise

    def _asked(self) -> Credentials:
        ask = self._ask or self._load()
        pair = ask()
        self._ask = ask  # not before: what never gave one is loaded anew, from files mended since
        return pair


def load_with_botocore() -> Ask:
    """Gives what asks botocore for the key pair of now. Both raise StoreRefused."""
    try:
        from botocore.exceptions import (  # type: ignore[import-untyped]  # noqa: PLC0415  # slow
            BotoCoreError,
            ClientError,
        )
        from botocore.session import (  # type: ignore[import-untyped]  # noqa: PLC0415  # slow
            Session,
        )
    except ImportError as error:
        raise StoreRefused(
            "ambient credentials take botocore: install pannier[gateway,aws]"
        ) from error
    session = Session()

    def ask() -> Credentials:
        try:
            provider = session.get_credentials()
            frozen = None if provider is None else provider.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError, RuntimeError) as error:
            raise StoreRefused(f"{NO_PAIR}: {error}") from error
        if frozen is None:
            raise StoreRefused(
                f"{NO_PAIR}: set one in the environment, or give the pod an identity"
            )
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    return ask
