"""nginx as a store of files: serving them with sendfile, taking them by WebDAV PUT.

One worker and what Debian's own configuration sets (sendfile, tcp_nopush), with three departures:
no access log (ours is off too), no limit on a body, and connections that stay open. nginx does not
fsync what it takes in: its PUT is the cheaper promise.
"""

import getpass
from pathlib import Path

from bench.debian import Missing, program
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
    server {{
        listen 127.0.0.1:{port};
        root {home}/files;
        location / {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


def command(settings: Settings, home: Path) -> Command:
    """How to start nginx over `home`; raises Missing."""
    nginx = program("nginx", ["nginx", "nginx-light", "nginx-core"])
    if "http_dav_module" not in nginx.output("-V"):
        raise Missing("this nginx has no WebDAV: install Debian's (apt-get install nginx)")
    (home / "files").mkdir(parents=True)
    port = free_port()
    configuration = home / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(user=getpass.getuser(), home=home, port=port))
    options = ["-e", "stderr", "-p", str(home), "-c", str(configuration), "-g", "daemon off;"]
    arguments = [nginx.path, *options]
    return Command(
        "nginx", arguments, "/{usecase}/", settings.server_cpu, nginx.environment, port=port
    )
