"""Connections of the data listener: aiohttp's, but malformed requests are refused in our words."""

import logging

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

log = logging.getLogger("pannier.api")

KEEP_ALIVE_SECONDS = 75.0  # longer than clients keep an idle connection


class Connection(RequestHandler):
    """One connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that the parser refused. Nothing after it can be trusted: close."""
        detail = (message or str(exc) or "malformed request").strip().partition("\n")[0]
        log.info("malformed request", extra={"detail": detail})
        response = web.Response(
            status=status,
            headers={"content-type": "application/json"},
            body=msgspec.json.encode({"detail": f"client error: {detail}"}),
        )
        response.force_close()
        return response


class DataServer(web.Server):
    """Makes a Connection of every client that comes."""

    def __call__(self) -> RequestHandler:
        return Connection(
            self,
            loop=self._loop,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # an exchange logs itself
        )
