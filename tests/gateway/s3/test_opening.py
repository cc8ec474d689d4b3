"""A Bucket's configuration as a store: where it is, and how the two prove themselves."""

from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from cryptography.x509 import DNSName

from pannier_gateway.config.model import BucketConfig, ResilienceConfig, S3Config, TlsConfig
from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.connecting import patience_of
from pannier_gateway.stores.s3 import opened
from pannier_gateway.stores.s3.credentials import Ambient, Anonymous, FromSecret
from pannier_gateway.stores.s3.opening import address_of, credentials_of, entrances_of
from pannier_gateway.stores.secrets import MountedSecrets
from pannier_gateway.tls.trust import Trusts
from support.certificates import Authority, server_context
from support.engines import provision
from support.jumps import turns
from support.scripted import answer, serving

NOWHERE = MountedSecrets(Path("/nowhere"))
S3 = S3Config(bucket="bkt", region="eu-1", addressing="Path", auth="Anonymous")
TLS = TlsConfig(
    secret="identity", min_version="TLS12", relaxed_x509=False, insecure_skip_verify=False
)


def config(*endpoints: str, s3: S3Config = S3, tls: TlsConfig | None = None) -> BucketConfig:
    return BucketConfig(
        namespace="ns",
        name="n",
        type="S3",
        access="ReadOnly",
        deletion_policy="Retain",
        endpoints=endpoints,
        tls=tls,
        s3=s3,
        resilience=ResilienceConfig(),
    )


@pytest.mark.parametrize(
    ("url", "addressing", "host", "root", "connect"),
    [
        ("http://store:9000", "Path", "store:9000", "/bkt", ("store", 9000)),
        ("http://store", "VirtualHost", "bkt.store", "", ("bkt.store", 80)),
        ("https://store:443", "VirtualHost", "bkt.store", "", ("bkt.store", 443)),
        ("http://[::1]:9000", "Path", "[::1]:9000", "/bkt", ("::1", 9000)),
        (None, "VirtualHost", "bkt.s3.eu-1.amazonaws.com", "", ("bkt.s3.eu-1.amazonaws.com", 443)),
    ],
)
def test_a_bucket_is_where_its_configuration_says(
    url: str | None, addressing: str, host: str, root: str, connect: tuple[str, int]
) -> None:
    s3 = msgspec.structs.replace(S3, addressing=addressing)
    bucket = config(*([] if url is None else [url]), s3=s3)

    [(named, endpoint)] = entrances_of(bucket, s3, NOWHERE).items()

    assert address_of(bucket, s3) == ("ns/n", "bkt", root)
    assert named == host
    assert (endpoint.host, endpoint.port) == connect
    assert (endpoint.tls is not None) is (connect[1] == 443)


def test_credentials_come_from_where_the_bucket_says() -> None:
    secret = msgspec.structs.replace(
        S3, auth="Secret", secret="s", access_key_id_key="id", secret_access_key_key="key"
    )

    assert isinstance(credentials_of(S3, NOWHERE), Anonymous)
    assert isinstance(credentials_of(secret, NOWHERE), FromSecret)
    ambient = msgspec.structs.replace(S3, auth="Ambient")
    assert isinstance(credentials_of(ambient, NOWHERE), Ambient)


def test_timeouts_are_those_of_the_bucket() -> None:
    patience = patience_of(ResilienceConfig(connect_timeout=0.5, progress_timeout=7.0))

    assert (patience.connect, patience.first_byte, patience.progress) == (0.5, 10.0, 7.0)


async def test_a_store_behind_mutual_tls_is_reached_with_the_certificate_of_the_secret(
    tmp_path: Path,
) -> None:
    folder = Authority().issue(tmp_path / "identity")
    missing = answer("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
    with serving(missing, tls=server_context(folder, demanding=True)) as server:
        url = f"https://127.0.0.1:{urlsplit(server.url).port}"
        mounted, given = MountedSecrets(tmp_path), provision()
        async with opened(config(url, tls=TLS), mounted, Trusts(), given) as store:
            assert not await store.touch("k", "e", 1)
        await turns()  # in which sockets are closed: the server's thread waits for that

    assert server.requests


@pytest.mark.parametrize("server_name", ["store.example", None])
async def test_a_store_is_known_by_the_name_that_the_bucket_gives_it(
    tmp_path: Path, server_name: str | None
) -> None:
    authority, name = Authority(), (DNSName("store.example"),)
    authority.issue(tmp_path / "identity")
    context = server_context(authority.issue(tmp_path / "store", name), demanding=True)
    missing = answer("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
    tls = msgspec.structs.replace(TLS, server_name=server_name)
    with serving(missing, tls=context) as server:
        url = f"https://127.0.0.1:{urlsplit(server.url).port}"
        mounted, given = MountedSecrets(tmp_path), provision()
        async with opened(config(url, tls=tls), mounted, Trusts(), given) as store:
            if server_name is None:
                with pytest.raises(StoreRefused, match=r"another name.*tls\.serverName"):
                    await store.touch("k", "e", 1)
            else:
                assert not await store.touch("k", "e", 1)
        await turns()  # as above


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "tls.crt"), ({"tls.crt": "no", "tls.key": "no"}, "tls block can't be used")],
)
async def test_certificates_that_can_not_be_used_are_told_of(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    (tmp_path / "identity").mkdir()
    for name, text in files.items():
        (tmp_path / "identity" / name).write_text(text)

    nobody, mounted = config("https://127.0.0.1:9", tls=TLS), MountedSecrets(tmp_path)
    async with opened(nobody, mounted, Trusts(), provision()) as store:
        with pytest.raises(StoreRefused, match=said):
            await store.head("k")
