"""What a user would pick instead: CPU of application and gateway, beside boto3 and obstore alone.

All three use the same engine from this process, one call after another, each as it is without
being told anything. In the tables "CPU" is the gateway's, which the others have none of, and the
sender is the application. The engine has both cores, and is on nobody's bill.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench import faults, gateway
from bench.client import repeat
from bench.faults import Store
from bench.load import Sample, Traffic, sample
from bench.process import Command, Server, on, running
from bench.race import race
from bench.report import WHOLE, Aim, outlay, show
from bench.settings import KIB, MIB, Settings
from support import example  # bench.faults says where that is
from support.engines import make_bucket, versitygw

BOTO3 = "boto3"
AIM = Aim(outlay, most=1.0, name="pannier")
SIZES = {"1 KiB": KIB, "64 MiB": 64 * MIB}


class Boto3(faults.Boto3):
    """As its users have it: large bodies in parts, small ones not."""

    def put(self, key: str, body: bytes) -> None:
        if len(body) > KIB:
            super().put(key, body)
        else:
            self._client.put_object(Bucket="objects", Key=f"boto3/{key}", Body=body)


class Contender(NamedTuple):
    store: Store
    gateway: Server | None = None


def main(settings: Settings) -> None:
    settings.scratch.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=settings.scratch) as folder,
        versitygw(Path(folder, "s3")) as engine,
    ):
        make_bucket(engine)
        with (
            running(command(settings, Path(folder), engine.url), Path(folder, "log")) as server,
            on(settings.load_cpu),
        ):
            contenders = {
                BOTO3: Contender(Boto3(engine.url)),
                "obstore": Contender(faults.Obstore(engine.url)),
                "pannier": Contender(faults.Pannier(server.url), server),
            }
            for each in contenders.values():
                put(each.store, b"met before")
            for title, size in SIZES.items():
                compare(settings, contenders, title, os.urandom(size))


def command(settings: Settings, home: Path, url: str) -> Command:
    """A gateway before the engine, that compresses as little as the others do."""
    manifests = home / "s3.yaml"
    manifests.write_text(example.plain(url).replace("compression: Zstd", "compression: None"))
    return gateway.command(settings, home / "data", manifests=manifests)


def compare(
    settings: Settings, contenders: Mapping[str, Contender], title: str, body: bytes
) -> None:
    for verb, act in (("put", put), ("get", get)):
        turns = {}
        for name, (store, server) in contenders.items():
            call = partial(act, store, body)
            turns[name] = partial(turn, server, partial(repeat, call, len(body), settings.seconds))
        result = race(settings.rounds, turns)
        show(f"{title} {verb}, one caller", result, BOTO3, AIM, figures=WHOLE)


def turn(server: Server | None, send: Callable[[], Traffic], _number: int) -> Sample:
    return sample(server, send)


def put(store: Store, body: bytes) -> None:
    store.put("object", body)


def get(store: Store, body: bytes) -> int:
    got = store.get("object")
    assert got == body, "other bytes"
    return len(got)


if __name__ == "__main__":
    main(Settings.parse())
