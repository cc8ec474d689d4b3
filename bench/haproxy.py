"""HAProxy as a reverse proxy: one thread, and otherwise what it does by itself."""

from pathlib import Path

from bench.debian import program
from bench.door import Door
from bench.process import Command, free_port
from bench.settings import Settings

CONFIGURATION = """
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend pods
    bind 127.0.0.1:{port}
    default_backend store
backend store
    server store 127.0.0.1:{store} {tls}
"""
TRUSTED = "ssl ca-file {ca} verify required verifyhost localhost sni str(localhost)"


def command(settings: Settings, home: Path, door: Door, prefix: str) -> Command:
    """How to start it before what is behind `door`; raises Missing."""
    haproxy = program("haproxy")
    home.mkdir()
    port, file = free_port(), home / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(port=port, store=door.port, tls=_tls(home, door)))
    arguments = [haproxy.path, "-db", "-f", str(file)]
    environment = haproxy.environment
    return Command("haproxy", arguments, prefix, settings.server_cpu, environment, port=port)


def _tls(home: Path, door: Door) -> str:
    if door.identity is None:
        return ""
    trusted = TRUSTED.format(ca=door.identity / "ca.crt")
    if not door.demanding:
        return trusted
    chain = home / "chain.pem"
    parts = (door.identity / name for name in ("tls.crt", "tls.key"))
    chain.write_bytes(b"".join(part.read_bytes() for part in parts))
    return f"{trusted} crt {chain}"
