"""What the gateway obeys: a versioned JSON document, written by `render`, read by every gateway.

A newer minor version only adds fields, which an older gateway may ignore; a newer major version may
change what a field means, so an older gateway refuses it and stays with what it has. Secrets are
named, never held.
"""

import hashlib
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from pannier_gateway.config.problems import ConfigError

MAJOR, MINOR = 1, 0

Policy = Literal["Manual", "TimeToLive", "TimeToIdle"]
Positive = Annotated[int, Meta(ge=1)]
LONGEST_LIFETIME = 365_000 * 86_400  # seconds: a deadline in it still has a four-digit year
Lifetime = Annotated[int, Meta(ge=1, le=LONGEST_LIFETIME)]
Seconds = Annotated[float, Meta(gt=0)]

T = TypeVar("T")


class _Part(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A block of the configuration; None is a field left out."""


class Expiry(_Part, frozen=True, kw_only=True):
    """When an object goes: `after` seconds, given for all policies but Manual."""

    policy: Policy
    after: Lifetime | None = None

    def __post_init__(self) -> None:
        if (self.policy == "Manual") != (self.after is None):
            raise ValueError(
                "after is required for TimeToLive and TimeToIdle and forbidden for Manual"
            )


class AllowedExpiry(_Part, frozen=True, kw_only=True):
    """A policy that a request may ask for, for `max_after` seconds at most."""

    policy: Policy
    max_after: Lifetime | None = None


class Limits(_Part, frozen=True, kw_only=True):
    """What one gateway allows; None: no limit."""

    max_object_bytes: Positive | None = None
    requests_per_second: Positive | None = None
    bytes_per_second: Positive | None = None
    concurrent_requests: Positive | None = None


class UsecaseConfig(_Part, frozen=True, kw_only=True):
    """One use of a bucket. `name` is the name in URLs; `bucket` a key of `GatewayConfig.buckets`.

    `allowed_expirations` None: a request may ask for any.
    """

    name: str
    namespace: str
    bucket: str
    suspend: Literal["None", "Writes", "All"]
    compression: Literal["None", "Zstd"]
    compression_level: Annotated[int, Meta(ge=1, le=19)] | None = None
    compression_min_bytes: Annotated[int, Meta(ge=0)]
    expiration: Expiry
    allowed_expirations: tuple[AllowedExpiry, ...] | None = None
    limits: Limits


class TlsConfig(_Part, frozen=True, kw_only=True):
    """`secret` has the client's certificate; the CA is in `ca_config_map`, or else in `secret`."""

    secret: str | None = None
    ca_config_map: str | None = None
    ca_key: str | None = None
    server_name: str | None = None
    min_version: Literal["TLS12", "TLS13"]
    relaxed_x509: bool
    insecure_skip_verify: bool


class S3Config(_Part, frozen=True, kw_only=True):
    """A bucket of an S3-compatible store; the last three are there for auth Secret."""

    bucket: str
    region: str
    addressing: Literal["VirtualHost", "Path"]
    storage_class: str | None = None
    auth: Literal["Ambient", "Secret", "Anonymous"]
    secret: str | None = None
    access_key_id_key: str | None = None
    secret_access_key_key: str | None = None


class FilesystemConfig(_Part, frozen=True, kw_only=True):
    """`claim` None: the gateway's own data directory."""

    claim: str | None = None


class UpstreamConfig(_Part, frozen=True, kw_only=True):
    """`token_key` is where in Secret `token_secret` the bearer token is."""

    token_secret: str | None = None
    token_key: str | None = None


class ResilienceConfig(_Part, frozen=True, kw_only=True):
    """How hard to try; timeouts in seconds; None: the gateway's default."""

    attempts: Positive | None = None
    hedging: bool | None = None
    connect_timeout: Seconds | None = None
    first_byte_timeout: Seconds | None = None
    progress_timeout: Seconds | None = None


class BucketConfig(_Part, frozen=True, kw_only=True):
    """Where data lives. Of `s3`, `filesystem` and `upstream` the one that `type` names is there."""

    namespace: str
    name: str
    type: Literal["S3", "Filesystem", "Upstream"]
    prefix: str | None = None
    access: Literal["ReadWrite", "ReadOnly"]
    deletion_policy: Literal["Retain", "Delete"]
    endpoints: tuple[str, ...] = ()
    tls: TlsConfig | None = None
    s3: S3Config | None = None
    filesystem: FilesystemConfig | None = None
    upstream: UpstreamConfig | None = None
    resilience: ResilienceConfig

    def __post_init__(self) -> None:
        blocks = {"S3": self.s3, "Filesystem": self.filesystem, "Upstream": self.upstream}
        if [name for name, block in blocks.items() if block is not None] != [self.type]:
            raise ValueError(f"exactly the block of type {self.type} must be there")


class GatewayConfig(Struct, frozen=True, kw_only=True, rename="camel"):
    """All of it. `buckets` by `namespace/name`, `usecases` by their name in URLs.

    `generation` counts the configurations of one writer; it says nothing about content.
    """

    major: int = MAJOR
    minor: int = MINOR
    generation: int
    buckets: dict[str, BucketConfig]
    usecases: dict[str, UsecaseConfig]

    def __post_init__(self) -> None:
        for name, usecase in self.usecases.items():
            if usecase.name != name:
                raise ValueError(f"usecases.{name}.name is {usecase.name!r}, not its key")
            if usecase.bucket not in self.buckets:
                raise ValueError(f"usecases.{name}.bucket: no bucket {usecase.bucket!r} in buckets")


class _Version(Struct, frozen=True):
    major: int
    minor: int


class _Envelope(_Version, frozen=True):
    generation: Annotated[int, Meta(ge=0)]
    buckets: dict[str, Raw]
    usecases: dict[str, Raw]


def dump(config: GatewayConfig) -> bytes:
    """`config` in canonical form: compact JSON, keys sorted, same bytes for same content."""
    return msgspec.json.encode(config, order="sorted")


def parse(data: bytes) -> GatewayConfig:
    """What `dump` wrote, here or in another version. Raises ConfigError, with the JSON path."""
    version = _decoded(data, _Version)
    if version.major != MAJOR:
        raise ConfigError(
            f"configuration version {version.major}.{version.minor} is not understood: this gateway"
            f" reads version {MAJOR}; run a gateway of the version that wrote it"
        )
    envelope = _decoded(data, _Envelope)
    buckets = _entries(envelope.buckets, "buckets", BucketConfig)
    usecases = _entries(envelope.usecases, "usecases", UsecaseConfig)
    try:
        return GatewayConfig(
            minor=version.minor,
            generation=envelope.generation,
            buckets=buckets,
            usecases=usecases,
        )
    except ValueError as error:
        raise ConfigError(f"configuration: {error}") from error


def digest(config: GatewayConfig) -> str:
    """SHA-256 (hex) of the canonical form, whatever the generation: it tells contents apart."""
    content = dump(msgspec.structs.replace(config, generation=0))
    return hashlib.sha256(content).hexdigest()


def _entries(raw: dict[str, Raw], path: str, kind: type[T]) -> dict[str, T]:
    return {key: _decoded(value, kind, f"{path}.{key}") for key, value in raw.items()}


def _decoded(data: bytes | Raw, kind: type[T], path: str = "") -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        message, _, inside = str(error).partition(" - at `$")
        where = (path + inside.removesuffix("`")).lstrip(".") or "the whole"
        raise ConfigError(f"configuration: {where}: {message}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"configuration is not JSON: {error}") from error
