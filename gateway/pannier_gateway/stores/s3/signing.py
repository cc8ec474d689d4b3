"""Signature Version 4 of AWS for requests to S3, with the payload unsigned: a checksum goes with
every body, and TLS or a private network keeps strangers out.

The algorithm is that of "Authenticating Requests: Using the Authorization Header" in the API
Reference of Amazon S3.
"""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from time import gmtime, strftime
from typing import NamedTuple

UNSIGNED = "UNSIGNED-PAYLOAD"
ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    """A key pair of S3, with a token where it is a temporary one."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"<Credentials {self.access_key[:4]}…>"


class Signer:
    """Signs for one region. The key that signs is derived once a day for each key pair."""

    def __init__(self, region: str, service: str = "s3") -> None:
        self._region = region
        self._service = service
        self._derived: tuple[str, Credentials] | None = None
        self._keyed = hmac.new(b"", digestmod="sha256")
        self._second = -1
        self._moment = self._scope = ""

    def __repr__(self) -> str:
        return f"<Signer {self._service} in {self._region}>"

    def sign(
        self,
        request: "Unsigned",
        credentials: Credentials,
        seconds: int,
    ) -> dict[str, str]:
        """The headers to send: those of `request`, date, payload, token and signature.

        `seconds` is the time since the epoch. Names of headers are lowercase.
        """
        if seconds != self._second:
            self._begin(seconds)
        headers = {**request.headers, "x-amz-date": self._moment}
        headers.setdefault("x-amz-content-sha256", UNSIGNED)
        if credentials.token is not None:
            headers["x-amz-security-token"] = credentials.token
        signed, lines = canonical(tuple(headers.items()))
        text = (
            f"{request.method}\n{request.path}\n{request.query}\n{lines}\n{signed}\n"
            f"{headers['x-amz-content-sha256']}"
        )
        signature = self._signature(text, credentials)
        headers["authorization"] = (
            f"{ALGORITHM} Credential={credentials.access_key}/{self._scope},"
            f"SignedHeaders={signed},Signature={signature}"
        )
        return headers

    def _begin(self, seconds: int) -> None:
        """What is the same for all requests of that second."""
        self._second, self._moment = seconds, strftime("%Y%m%dT%H%M%SZ", gmtime(seconds))
        self._scope = f"{self._moment[:8]}/{self._region}/{self._service}/aws4_request"

    def _signature(self, request: str, credentials: Credentials) -> str:
        digest = sha256(request.encode()).hexdigest()
        text = f"{ALGORITHM}\n{self._moment}\n{self._scope}\n{digest}"
        signing = self._keyed_for(credentials).copy()
        signing.update(text.encode())
        return signing.hexdigest()

    def _keyed_for(self, credentials: Credentials) -> hmac.HMAC:
        day = self._moment[:8]
        if self._derived != (day, credentials):
            key = f"AWS4{credentials.secret_key}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._derived = day, credentials
            self._keyed = hmac.new(key, digestmod="sha256")
        return self._keyed


@lru_cache(maxsize=64)  # reads of the same second differ in their paths alone
def canonical(headers: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """The names of the headers, and their lines, as they are signed."""
    pairs = sorted(headers)
    lines = [f"{name}:{' '.join(text.split())}\n" for name, text in pairs]
    return ";".join(name for name, _ in pairs), "".join(lines)


class Unsigned(NamedTuple):
    """What a signature covers. `path` and `query` are percent-encoded, `query` in its order of
    signing: by name."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
