"""Where a store behind proxies is to be reached: in plain text, over TLS, or over mutual TLS."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Door:
    """A port of 127.0.0.1. `identity` holds tls.crt, tls.key and ca.crt, where the door has TLS;
    it is shown where the door is `demanding`."""

    name: str
    port: int
    identity: Path | None = None
    demanding: bool = False

    @property
    def url(self) -> str:
        return f"http{'s' if self.identity else ''}://127.0.0.1:{self.port}"
