"""The makes of S3 engines to test with: how each is started, and what it was found to keep."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pannier_gateway.stores.s3.traits import Traits
from support.ceph import ceph
from support.engines import S3S_FS, VERSITYGW, Engine, Started, s3s_fs, versitygw
from support.garage import garage
from support.minio import minio


class Make(NamedTuple):
    """How an engine is started in a folder of its own, and what the probe finds of it."""

    start: Callable[[Path], Started]
    traits: Traits


MINIO = Traits(
    layout="marked",
    create=True,
    replace="quoted",
    complete=True,
    verified=True,
    tags=True,
    tags_in_parts=True,
    lifecycle=True,
)
GARAGE = Traits(verified=True, lifecycle=True)
CEPH = Traits(
    layout="plain",
    create=True,
    replace="bare",
    checksum="md5",
    verified=True,
    tags=True,
    lifecycle=True,
)

MAKES: Mapping[str, Make] = {
    "versitygw": Make(versitygw, VERSITYGW),
    "s3s-fs": Make(s3s_fs, S3S_FS),
    "minio": Make(minio, MINIO),
    "garage": Make(garage, GARAGE),
    "ceph": Make(ceph, CEPH),
}
QUICK = ("versitygw", "s3s-fs")
"""Those that are built in minutes, and start at once."""


class Engines:
    """One running engine of each make, started when it is first asked for: a `with` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, Engine] = {}
        self._ends = ExitStack()

    def __enter__(self) -> "Engines":
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def running(self, make: str) -> Engine:
        if make not in self._started:
            starting = MAKES[make].start(self._folder / make)
            self._started[make] = self._ends.enter_context(starting)
        return self._started[make]
