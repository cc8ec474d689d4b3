"""Ceph's object gateway on loopback: an old dialect of S3, over a cluster of one monitor and one
disk that is memory.

The programs are Debian's, unpacked beside the system, and run as whoever asks.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from support.debian import CEPH, environment, unpacked_or_skipped
from support.engines import KEYS, Engine, daemon, free_port, running

READY_SECONDS = 60

CONFIGURATION = """
[global]
fsid = {cluster}
mon host = v2:127.0.0.1:{monitor}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {home}/keyring
run dir = {home}
admin socket = {home}/$name.asok
log file = {home}/$name.log
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
[mon.a]
mon data = {home}/mon
public addr = 127.0.0.1:{monitor}
[osd]
osd objectstore = memstore
memstore device bytes = 4294967296
osd data = {home}/osd
[client.rgw]
rgw data = {home}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw dns name = s3.localhost
rgw lc debug interval = 5
"""
"""Without tcp_nodelay small answers take 44 ms; with the interval a day of lifecycle takes 5 s."""

ALLOWED = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")


class Cluster(NamedTuple):
    """A folder with a cluster's configuration, and where its programs are."""

    home: Path
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.root)

    def command(self, name: str, *arguments: str) -> list[str]:
        program = shutil.which(name, path=self.environment["PATH"])
        assert program is not None, f"{name} is neither installed nor unpacked"
        return [program, "-c", str(self.home / "ceph.conf"), *arguments]

    def do(self, name: str, *arguments: str) -> None:
        """Run a program of Ceph to its end."""
        done = subprocess.run(
            self.command(name, *arguments),
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{name} failed: {done.stderr[-2000:]}"

    @contextmanager
    def daemon(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        command = self.command(name, "-f", *arguments)
        with daemon(command, self.environment, self.home / f"{name}.out") as process:
            yield process


@contextmanager
def ceph(folder: Path) -> Iterator[Engine]:
    """A cluster that begins empty, and ends with the block."""
    port, cluster = free_port(), Cluster(folder, unpacked_or_skipped(CEPH))
    lay_out(cluster, port)
    user = ("--uid=test", "--display-name=test")
    keys = (f"--access-key={KEYS.access_key}", f"--secret-key={KEYS.secret_key}")
    with ExitStack() as daemons:
        daemons.enter_context(cluster.daemon("ceph-mon", "-i", "a"))
        cluster.do("ceph-osd", "--mkfs", "-i", "0")  # which asks the monitor
        daemons.enter_context(cluster.daemon("ceph-osd", "-i", "0"))
        cluster.do("radosgw-admin", "-n", "client.rgw", "user", "create", *user, *keys)
        serve = cluster.command("radosgw", "-n", "client.rgw", "-f")
        ready, log = f"http://127.0.0.1:{port}", folder / "radosgw.out"
        serving = running(serve, cluster.environment, ready, log)
        yield Engine("ceph", port, folder, daemons.enter_context(serving))


def lay_out(cluster: Cluster, port: int) -> None:
    """What the daemons find when they begin."""
    home, monitor, fsid = cluster.home, free_port(), str(uuid4())
    for each in ("mon", "osd", "rgw"):
        (home / each).mkdir(parents=True)
    roots = (cluster.root, Path("/"))  # unpacked is what was not installed
    found = (each for root in roots for each in root.glob("usr/lib/*/rados-classes"))
    libraries = next(found).parent
    where = {"home": home, "libraries": libraries, "port": port}
    text = CONFIGURATION.format(**where, monitor=monitor, cluster=fsid)
    (home / "ceph.conf").write_text(text)
    cluster.do("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", *ALLOWED)
    for name in ("client.admin", "client.rgw", "osd.0"):
        cluster.do("ceph-authtool", "keyring", "--gen-key", "-n", name, *ALLOWED)
    at = f"[v2:127.0.0.1:{monitor}]"
    cluster.do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", at, "monmap")
    cluster.do("osdmaptool", "--createsimple", "1", "osdmap")
    maps = ("--monmap", "monmap", "--osdmap", "osdmap", "--keyring", "keyring")
    cluster.do("ceph-mon", "--mkfs", "-i", "a", *maps)
