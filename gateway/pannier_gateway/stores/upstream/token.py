"""The bearer token that a server upstream may want, from a Secret."""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.secrets import Secrets

LOOK_AGAIN_SECONDS = 1.0


class NoToken:
    """For servers that want none, or go by the client's certificate."""

    def headers(self) -> dict[str, str]:
        return {}


class BearerToken:
    """Read again every second; one that can't be read leaves the last good one in force."""

    def __init__(
        self, secrets: Secrets, name: str, key: str, clock: Callable[[], float] = monotonic
    ) -> None:
        self._secrets = secrets
        self._name = name
        self._key = key
        self._clock = clock
        self._token: str | None = None
        self._looked = 0.0

    def __repr__(self) -> str:
        return f"<BearerToken of {self._name}>"

    def headers(self) -> dict[str, str]:
        """Raises StoreRefused as long as there never was one."""
        now = self._clock()
        if self._token is None:
            self._token = self._read()
        elif now - self._looked >= LOOK_AGAIN_SECONDS:
            self._looked = now
            with suppress(StoreRefused):
                self._token = self._read()
        return {"authorization": f"Bearer {self._token}"}

    def _read(self) -> str:
        token = self._secrets.read(self._name, self._key).decode("ascii", errors="replace").strip()
        if not token.isprintable() or not token.isascii() or not token:
            raise StoreRefused(
                f"the Secret {self._name} has no token under {self._key!r}: one line of text"
            )
        return token
