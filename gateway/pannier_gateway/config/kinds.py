"""`Usecase` and `Bucket` as their CRDs shape them.

What the CRDs give a default is always there; None is a field left out. Constraints live in
`crds.yaml` alone: instances come from `resources.parse`, which has checked them.
"""

from typing import Literal

from msgspec import Struct

from pannier_gateway.config.schema import Moment

Compression = Literal["None", "Zstd"]
Policy = Literal["Manual", "TimeToLive", "TimeToIdle"]


class _Part(
    Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """A block of a spec."""


class Metadata(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Of the usual metadata, what Pannier looks at; only a cluster sets `creation_timestamp`."""

    name: str
    namespace: str
    uid: str | None = None
    generation: int | None = None
    creation_timestamp: Moment | None = None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class BucketRef(_Part, frozen=True, kw_only=True):
    """The Bucket, in the same namespace, that holds a usecase's objects."""

    name: str


class Expiration(_Part, frozen=True, kw_only=True):
    """When an object goes; `after` such as `30d`, given for all policies but Manual."""

    policy: Policy
    after: str | None = None


class AllowedExpiration(_Part, frozen=True, kw_only=True):
    """A policy that a request may ask for, and for how long at most."""

    policy: Policy
    max_after: str | None = None


class Defaults(_Part, frozen=True, kw_only=True):
    """What holds for an object whose request does not say."""

    compression: Compression
    compression_level: int | None = None
    compression_min_bytes: int
    expiration: Expiration


class Limits(_Part, frozen=True, kw_only=True):
    """What one gateway allows."""

    max_object_bytes: int | None = None
    requests_per_second: int | None = None
    bytes_per_second: int | None = None
    concurrent_requests: int | None = None


class UsecaseSpec(_Part, frozen=True, kw_only=True):
    """How an application uses its objects."""

    name: str | None = None
    bucket_ref: BucketRef
    suspend: Literal["None", "Writes", "All"]
    defaults: Defaults
    allowed_expirations: tuple[AllowedExpiration, ...] | None = None
    limits: Limits | None = None


class Usecase(Struct, frozen=True, kw_only=True):
    """A use of a Bucket, under a name of its own."""

    metadata: Metadata
    spec: UsecaseSpec

    @property
    def wire_name(self) -> str:
        """The name in URLs: `spec.name`, or else the resource's own."""
        return self.metadata.name if self.spec.name is None else self.spec.name


class SecretRef(_Part, frozen=True, kw_only=True):
    """A Secret with `tls.crt` and `tls.key`, and `ca.crt` where there is one."""

    name: str


class CaConfigMapRef(_Part, frozen=True, kw_only=True):
    """A CA bundle in a ConfigMap."""

    name: str
    key: str


class Tls(_Part, frozen=True, kw_only=True):
    """How the gateway and the store prove themselves to each other."""

    secret_ref: SecretRef | None = None
    ca_config_map_ref: CaConfigMapRef | None = None
    server_name: str | None = None
    min_version: Literal["TLS12", "TLS13"]
    relaxed_x509: bool
    insecure_skip_verify: bool


class CredentialsRef(_Part, frozen=True, kw_only=True):
    """A Secret with an S3 key pair, and under which keys it lies there."""

    name: str
    access_key_id_key: str
    secret_access_key_key: str


class S3Auth(_Part, frozen=True, kw_only=True):
    """Where S3 credentials come from: the environment, a Secret, or nowhere."""

    mode: Literal["Ambient", "Secret", "Anonymous"]
    secret_ref: CredentialsRef | None = None


class S3(_Part, frozen=True, kw_only=True):
    """A bucket of an S3-compatible store."""

    bucket: str
    region: str
    addressing: Literal["VirtualHost", "Path"]
    storage_class: str | None = None
    auth: S3Auth


class Filesystem(_Part, frozen=True, kw_only=True):
    """A directory: of a claim, or without one of the gateway itself."""

    claim_name: str | None = None


class TokenRef(_Part, frozen=True, kw_only=True):
    """A Secret with a bearer token."""

    name: str
    key: str


class Upstream(_Part, frozen=True, kw_only=True):
    """Another gateway, or any server of the same protocol."""

    token_secret_ref: TokenRef | None = None


class Resilience(_Part, frozen=True, kw_only=True):
    """How hard to try; timeouts such as `500ms`. None: the gateway's default."""

    attempts: int | None = None
    hedging: Literal["Enabled", "Disabled"] | None = None
    connect_timeout: str | None = None
    first_byte_timeout: str | None = None
    progress_timeout: str | None = None


class BucketSpec(_Part, frozen=True, kw_only=True):
    """Where data lives and how to get there."""

    type: Literal["S3", "Filesystem", "Upstream"]
    prefix: str | None = None
    access: Literal["ReadWrite", "ReadOnly"]
    deletion_policy: Literal["Retain", "Delete"]
    endpoints: tuple[str, ...] | None = None
    allow_plaintext: bool
    tls: Tls | None = None
    s3: S3 | None = None
    filesystem: Filesystem | None = None
    upstream: Upstream | None = None
    resilience: Resilience | None = None


class Bucket(Struct, frozen=True, kw_only=True):
    """A place where objects live."""

    metadata: Metadata
    spec: BucketSpec
