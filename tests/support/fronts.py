"""What ends TLS before an engine that can't demand certificates: one front of each kind there is.

Caddy and HAProxy refuse who shows none, or another authority's, with an alert of TLS. nginx ends
the handshake with everybody, and then tells those in HTML. Caddy is built from its pin, so that one
is there on every machine; the two others are Debian's, installed or unpacked.
"""

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from support.binaries import binary
from support.debian import FRONTS, environment, unpacked_or_skipped
from support.engines import daemon, free_port

READY_SECONDS = 20

Front = Callable[[Path, int, Path], AbstractContextManager[str]]
"""Starts in a folder, before the engine at a port, with an identity's folder; its own URL."""

CADDY = """
{{
    admin off
    auto_https off
    persist_config off
    storage file_system {home}
    default_bind 127.0.0.1
}}
https://localhost:{port} {{
    tls {identity}/tls.crt {identity}/tls.key {{
        client_auth {{
            mode require_and_verify
            trust_pool file {identity}/ca.crt
        }}
    }}
    reverse_proxy 127.0.0.1:{engine}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend demanding
    bind 127.0.0.1:{port} ssl crt {chain} ca-file {identity}/ca.crt verify required
    default_backend engine
backend engine
    server engine 127.0.0.1:{engine}
"""

NGINX = """
user {user};
worker_processes 1;
pid {home}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {home}/incoming; proxy_temp_path {home}/unused;
    fastcgi_temp_path {home}/unused; uwsgi_temp_path {home}/unused; scgi_temp_path {home}/unused;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {identity}/tls.crt;
        ssl_certificate_key {identity}/tls.key;
        ssl_client_certificate {identity}/ca.crt;
        ssl_verify_client on;
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_http_version 1.1;
        location / {{
            proxy_pass http://127.0.0.1:{engine};
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@contextmanager
def caddy(folder: Path, engine: int, identity: Path) -> Iterator[str]:
    """By name: it answers 421 where the handshake tells none, which it does of no address."""
    folder.mkdir()
    port, file = free_port(), folder / "Caddyfile"
    file.write_text(CADDY.format(home=folder, port=port, identity=identity, engine=engine))
    command = [str(binary("caddy")), "run", "--adapter", "caddyfile", "--config", str(file)]
    with serving(command, {"HOME": str(folder)}, folder, port):
        yield f"https://localhost:{port}"


@contextmanager
def haproxy(folder: Path, engine: int, identity: Path) -> Iterator[str]:
    folder.mkdir()
    port, chain, file = free_port(), folder / "chain.pem", folder / "haproxy.cfg"
    chain.write_bytes((identity / "tls.crt").read_bytes() + (identity / "tls.key").read_bytes())
    file.write_text(HAPROXY.format(port=port, chain=chain, identity=identity, engine=engine))
    program, around = of_debian("haproxy")
    with serving([program, "-db", "-f", str(file)], around, folder, port):
        yield f"https://127.0.0.1:{port}"


@contextmanager
def nginx(folder: Path, engine: int, identity: Path) -> Iterator[str]:
    folder.mkdir()
    port, file = free_port(), folder / "nginx.conf"
    where = {"home": folder, "port": port, "identity": identity, "engine": engine}
    file.write_text(NGINX.format(user=getpass.getuser(), **where))
    options = ["-e", "stderr", "-p", str(folder), "-c", str(file), "-g", "daemon off;"]
    program, around = of_debian("nginx")
    with serving([program, *options], around, folder, port):
        yield f"https://127.0.0.1:{port}"


def of_debian(name: str) -> tuple[str, Mapping[str, str]]:
    """The program's path, and the environment in which it finds its libraries."""
    around = environment(unpacked_or_skipped(FRONTS))
    path = shutil.which(name, path=around["PATH"])
    assert path is not None, f"{name} is neither installed nor unpacked"
    return path, around


@contextmanager
def serving(
    command: Sequence[str], around: Mapping[str, str], folder: Path, port: int
) -> Iterator[None]:
    """`command`, from when somebody listens."""
    with daemon(command, around, folder / "log") as process:
        until_listening(process, port, folder / "log")
        yield


def until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens at {port}: {log.read_text(errors='replace')[-2000:]}")
