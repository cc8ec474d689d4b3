"""The side of a hub: its certificate, and who may touch what, both as their files are now."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import time

from pannier_gateway.errors import StoreRefused
from pannier_gateway.settings import Settings, SettingsError
from pannier_gateway.tls.clients import lifetime_of, read_clients
from pannier_gateway.tls.sides import ServerSide
from pannier_gateway.tls.trust import LOOK_AGAIN_SECONDS, Trust, Trusts

log = logging.getLogger("pannier.tls")

LABEL = "--tls-listen"


class Hub:
    """What a TLS listener goes by. Raises SettingsError where it can't begin."""

    def __init__(self, folder: Path, clients: Path) -> None:
        self.trust = Trust(LABEL, ServerSide(folder))
        self.clients = read_clients(clients)
        self._file = clients
        self._problem: str | None = None
        try:
            self.context = self.trust()
        except StoreRefused as error:
            raise SettingsError(f"--tls-dir: {error}") from error
        self.context.sni_callback = self._renew

    def __repr__(self) -> str:
        return f"<Hub with {len(self.clients.clients)} rules, {self.trust!r}>"

    @asynccontextmanager
    async def following(self, trusts: Trusts) -> AsyncIterator[None]:
        """Take up what changes in the files while the block lasts."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(trusts.following(self.trust, accept))
            looking = asyncio.create_task(self._look_again_and_again())
            stack.callback(looking.cancel)
            yield

    def admit(self, transport: asyncio.BaseTransport | None, usecase: str) -> None:
        """Let a request through, or raise NotPermitted; who comes without TLS is of this pod."""
        if transport is None:
            raise ConnectionResetError("the client left")
        if transport.get_extra_info("sslcontext") is not None:
            self.clients.check(transport.get_extra_info("peercert") or {}, usecase)

    def lifetime(self, transport: asyncio.BaseTransport) -> float:
        """Seconds for which one connection may be used."""
        return lifetime_of(transport.get_extra_info("peercert"), time())

    async def look(self) -> None:
        """Look at the rules once; those that can't be read leave the last good ones in force."""
        try:
            self.clients = await asyncio.to_thread(read_clients, self._file)
            self._problem = None
        except SettingsError as error:
            if self._problem != str(error):
                self._problem = str(error)
                log.warning("clients refused", extra={"error": self._problem})

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            try:
                await self.look()
            except Exception:  # the outermost loop of a task: the next rules are to be looked at
                log.exception("clients not understood")

    def _renew(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> int | None:
        """A handshake begins, on the context that the listener was opened with."""
        if connection.session_reused:  # as TLS 1.2 can: nobody would look at its certificate again
            return ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
        connection.context = self.trust()
        return None


def hub_of(settings: Settings) -> Hub | None:
    """What other gateways come to, where they may. Raises SettingsError."""
    return None if settings.hub is None else Hub(settings.hub.tls_dir, settings.hub.tls_clients)


async def accept(_: ssl.SSLContext) -> None:
    """Nobody can be asked: clients come by themselves."""
