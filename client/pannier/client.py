"""The way in: one client per gateway, one session per usecase."""

import re
from collections.abc import Mapping
from typing import Self

from pannier.address import Address
from pannier.arguments import check_texts
from pannier.driver import Config, Driver
from pannier.patience import Retry, Timeout
from pannier.plan import Place
from pannier.protocol.names import Scopes, check_usecase
from pannier.session import Session
from pannier.version import __version__

_OURS = frozenset({"connection", "content-length", "expect", "host", "te", "transfer-encoding"})
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~]*")


class Client:
    """A gateway, by its address. Creating one does no I/O.

    `base_url` is `http://host:port`, `https://…` or `unix:///run/gateway.sock`; without it the
    environment variable PANNIER_URL counts, then `http://127.0.0.1:8650`. Proxies are ignored.
    `timeout` takes seconds for connecting and for silence alike, or a Timeout. `headers` go with
    every request. At most `pool_size` idle connections are kept; more than that may be in use.

    Threads may share a client, a forked child may go on with it, and a pickle of it holds the
    configuration. Raises ValueError for a configuration that cannot work.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout: Timeout | float | None = None,
        retry: Retry | None = None,
        pool_size: int = 16,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._driver = Driver(
            Config(
                Address.resolve(base_url),
                Timeout() if timeout is None else Timeout.of(timeout),
                Retry() if retry is None else retry,
                pool_size,
                _checked({"user-agent": f"pannier/{__version__}"} | _lowercase(headers or {})),
            )
        )

    def __repr__(self) -> str:
        pool = self._driver.pool
        state = "closed" if pool.closed else f"{len(pool)} idle"
        return f"<Client {self._driver.config.address} {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def session(self, usecase: str, **scopes: str | int | bool) -> Session:
        """The objects of a usecase, within scopes whose order counts. Does no I/O."""
        check_texts(usecase=usecase)
        return Session(self._driver, Place(check_usecase(usecase), Scopes.of(**scopes)))

    def close(self) -> None:
        """Close what is idle. Results still open can be read to their end."""
        self._driver.pool.close()


def _lowercase(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _checked(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in headers.items():
        if name in _OURS or not _HEADER.fullmatch(f"{name}:{value}"):
            raise ValueError(f"header {name!r}: {value!r} cannot go with every request")
    return tuple(headers.items())
