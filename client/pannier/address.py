"""Where the gateway listens, read from one URL."""

import os
import re
from dataclasses import dataclass
from typing import Literal, Self, cast
from urllib.parse import SplitResult, urlsplit

DEFAULT_URL = "http://127.0.0.1:8650"  # not localhost: that asks a resolver and may try ::1 first
ENVIRONMENT_VARIABLE = "PANNIER_URL"

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address (`host`, `port`, `base_path`), or the path of a Unix socket (`socket`)."""

    scheme: Literal["http", "https", "unix"]
    host: str = "localhost"
    port: int = 0
    base_path: str = ""
    socket: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `http://host:port/base`, `https://…` or `unix:///run/gateway.sock`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "unix"):
            raise ValueError(f"base_url {url!r} must start with http://, https:// or unix:///")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(f"base_url {url!r} must have no user, query or fragment")
        return cls._unix(parts) if parts.scheme == "unix" else cls._tcp(parts)

    @classmethod
    def resolve(cls, url: str | None) -> Self:
        """Take the URL given, else the one in PANNIER_URL, else the sidecar's default."""
        if url is None:
            url = os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_URL
        return cls.parse(url)

    @classmethod
    def _unix(cls, parts: SplitResult) -> Self:
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError(
                f"base_url {parts.geturl()!r} needs an absolute path: unix:///run/x.sock"
            )
        return cls("unix", socket=parts.path)

    @classmethod
    def _tcp(cls, parts: SplitResult) -> Self:
        if not parts.hostname:
            raise ValueError(f"base_url {parts.geturl()!r} names no host")
        if not re.fullmatch("[!-~]+", parts.geturl()):
            raise ValueError(f"base_url {parts.geturl()!r} holds what a URL must percent-encode")
        port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
        scheme = cast(Literal["http", "https"], parts.scheme)
        return cls(scheme, parts.hostname, port, parts.path.rstrip("/"))

    def url(self, path: str) -> str:
        """The URL of a path behind this address, always with its port."""
        if self.scheme == "unix":
            raise ValueError(f"no URL leads through a Unix socket ({self}): give an http base_url")
        return f"{self}{path}"

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base_path}"
