"""nginx, one worker: as a store of files, as a reverse proxy, and as the doors of a store.

It has what Debian's own configuration sets (sendfile, tcp_nopush), with three departures: no
access log (ours is off too), no limit on a body, and connections that stay open. Files leave by
sendfile and come by WebDAV PUT; nginx does not fsync what it takes in: its PUT is the cheaper
promise. As a proxy it passes bodies on as they come, both ways.
"""

import getpass
from pathlib import Path

from bench.debian import Missing, Program, program
from bench.door import Door
from bench.process import Command, free_port
from bench.settings import Settings

CONFIGURATION = """
user {user};
worker_processes 1;
pid {home}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    sendfile on;
    tcp_nopush on;
    access_log off;
    client_max_body_size 0;
    keepalive_requests 100000000;
    default_type application/octet-stream;
    client_body_temp_path {home}/incoming;
    proxy_temp_path {home}/unused; fastcgi_temp_path {home}/unused;
    uwsgi_temp_path {home}/unused; scgi_temp_path {home}/unused;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
{servers}
}}
"""
FILES = """
    server {{
        listen 127.0.0.1:{port};
        root {home}/files;
        location / {{ dav_methods PUT; create_full_put_path on; }}
    }}
"""
BEHIND = """
    upstream behind {{
        server 127.0.0.1:{behind};
        keepalive 64;
        keepalive_requests 100000000;
    }}
"""
PROXY = """
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {scheme}://behind; }}
        {tls}
    }}
"""
TRUSTED = """
        proxy_ssl_trusted_certificate {identity}/ca.crt;
        proxy_ssl_verify on;
        proxy_ssl_server_name on;
        proxy_ssl_name localhost;
"""
SHOWN = """
        proxy_ssl_certificate {identity}/tls.crt;
        proxy_ssl_certificate_key {identity}/tls.key;
"""


def command(settings: Settings, home: Path) -> Command:
    """How to start nginx as a store over `home`; raises Missing."""
    nginx = _program()
    if "http_dav_module" not in nginx.output("-V"):
        raise Missing("this nginx has no WebDAV: install Debian's (apt-get install nginx)")
    (home / "files").mkdir(parents=True)
    port = free_port()
    servers = FILES.format(home=home, port=port)
    return serving(home, servers, port, "/{usecase}/", settings.server_cpu)


def proxy(settings: Settings, home: Path, door: Door, prefix: str) -> Command:
    """How to start nginx before what is behind `door`; raises Missing."""
    home.mkdir()
    port = free_port()
    tls = TRUSTED * (door.identity is not None) + SHOWN * door.demanding
    scheme = "https" if door.identity else "http"
    server = PROXY.format(port=port, scheme=scheme, tls=tls.format(identity=door.identity))
    servers = BEHIND.format(behind=door.port) + server
    return serving(home, servers, port, prefix, settings.server_cpu)


def serving(home: Path, servers: str, port: int, prefix: str, cpu: int) -> Command:
    """How to start nginx with these `servers`, of which one listens at `port`; raises Missing."""
    nginx = _program()
    configuration = home / "nginx.conf"
    text = CONFIGURATION.format(user=getpass.getuser(), home=home, servers=servers)
    configuration.write_text(text)
    options = ["-e", "stderr", "-p", str(home), "-c", str(configuration), "-g", "daemon off;"]
    return Command("nginx", [nginx.path, *options], prefix, cpu, nginx.environment, port=port)


def _program() -> Program:
    return program("nginx")
