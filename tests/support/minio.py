"""MinIO on loopback: a second strict engine, which also keeps rules of lifecycle."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.binaries import binary
from support.engines import KEYS, Engine, free_port, running


@contextmanager
def minio(folder: Path) -> Iterator[Engine]:
    """On one disk, which it asks less of than it would of many."""
    (folder / "data").mkdir(parents=True)
    port = free_port()
    serve = [str(binary("minio")), "server", "--quiet", "--address", f"127.0.0.1:{port}"]
    root = {"MINIO_ROOT_USER": KEYS.access_key, "MINIO_ROOT_PASSWORD": KEYS.secret_key}
    calm = {"MINIO_BROWSER": "off", "MINIO_CI_CD": "1", "MINIO_DOMAIN": "s3.localhost"}
    at_home = {"HOME": str(folder)}
    command, environment = [*serve, str(folder / "data")], root | calm | at_home
    ready = f"http://127.0.0.1:{port}/minio/health/ready"
    with running(command, environment, ready, folder / "log") as process:
        yield Engine("minio", port, folder, process)
