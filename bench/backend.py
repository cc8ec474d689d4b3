"""The store behind proxies: versitygw, and nginx, which hands out its files, so that reading it
takes little of the senders' core. Three doors lead there: plain, TLS, and mutual TLS. What would
not fit on the disk goes to an engine that throws it away.

An object is handed out with the metadata and the checksum that versitygw tells of it. All that
begin with the same word have the same content, so that these stand in nginx's configuration.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from bench import nginx, sink
from bench.door import Door
from bench.process import Server, free_port, running

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.certificates import Authority
from support.engines import KEYS, REGION, Engine, client

BUCKET = "objects"
PREFIX = f"/{BUCKET}/{{usecase}}/objects/"  # of a path, for who asks the store itself
MARK = "!"  # ends every key that the gateway stores in versitygw
IDENTITY = "store-identity"  # what examples/s3.yaml calls it
DOORS = """
    upstream engine {{ server 127.0.0.1:{engine}; keepalive 64; }}
    upstream sink {{ server 127.0.0.1:{sink}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        include {home}/served.conf;
    }}
    server {{
        listen 127.0.0.1:{mtls} ssl;
        ssl_client_certificate {identity}/ca.crt;
        ssl_verify_client on;
        include {home}/served.conf;
    }}
"""
SERVED = """
    ssl_certificate {identity}/tls.crt;
    ssl_certificate_key {identity}/tls.key;
    root {data};
    error_page 418 = @engine;
    location @engine {{ proxy_pass http://engine; }}
    location {thrown} {{ proxy_pass http://sink; }}
    location / {{ return 418; }}
"""
HANDED_OUT = """
    location {place} {{
        if ($request_method != GET) {{ return 418; }}
        {headers}
    }}
"""


@dataclass(frozen=True, slots=True)
class Backend:
    """Its doors, and the server behind them, to be asked without a proxy."""

    straight: Server
    doors: Sequence[Door]


class Places(NamedTuple):
    """How keys begin that nginx reads by itself, and those whose objects are thrown away."""

    read: Sequence[str]
    thrown: str


@contextmanager
def serving(engine: Engine, home: Path, cpu: int, places: Places) -> Iterator[Backend]:
    """The doors to what `engine` has."""
    home.mkdir()
    authority = Authority()
    own, shown = authority.issue(home / "own"), authority.issue(home / "secrets" / IDENTITY)
    found = [Door("plain", free_port()), Door("TLS", free_port(), shown)]
    found.append(Door("mTLS", free_port(), shown, demanding=True))
    data, thrown = engine.folder / "data", f"/{BUCKET}/{places.thrown}"
    served = SERVED.format(identity=own, data=data, thrown=thrown)
    served += "".join(handed_out(engine, place) for place in places.read)
    (home / "served.conf").write_text(served)
    plain, tls, mtls = (door.port for door in found)
    ports = {"engine": engine.port, "sink": free_port(), "plain": plain, "tls": tls, "mtls": mtls}
    servers = DOORS.format(**ports, home=home, identity=own)
    command = nginx.serving(home, servers, plain, PREFIX, cpu)
    with (
        running(sink.command(cpu, ports["sink"]), home / "sink"),
        running(replace(command, name="straight"), home / "log") as straight,
    ):
        yield Backend(straight, found)


def handed_out(engine: Engine, place: str) -> str:
    """That of nginx's configuration which hands out what begins with `place`."""
    s3 = client(engine)
    first = s3.list_objects_v2(Bucket=BUCKET, Prefix=place, MaxKeys=1)["Contents"][0]["Key"]
    told = s3.head_object(Bucket=BUCKET, Key=first, ChecksumMode="ENABLED")["ResponseMetadata"]
    headers = [
        f"add_header {name} '{text}';"
        for name, text in told["HTTPHeaders"].items()
        if name.startswith(("x-amz-meta-", "x-amz-checksum-"))
    ]
    return HANDED_OUT.format(place=f"/{BUCKET}/{place}", headers="\n".join(headers))


def signed_put(key: str) -> str:
    """The path at which anybody may put the object, who calls the host `bench`."""
    s3 = boto3.client(
        "s3",
        endpoint_url="http://bench",
        region_name=REGION,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        config=Config(signature_version="s3v4"),
    )
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key})
    return str(url.removeprefix("http://bench"))
