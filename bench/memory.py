"""Memory: what is resident when nothing happens, and at the worst moment of many large streams.

64 clients store an object each, then all of them read one large object, as they are and through
zstd. VmHWM, the peak, counts every resident page, those of libraries and of mapped files too.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import bodies, gateway, stream
from bench.load import Traffic
from bench.process import Server, running
from bench.settings import MIB, Settings
from bench.workplace import workplace

CLIENTS = 64
IDLE_MOST = 60
STREAMING_MOST = 128


@dataclass(frozen=True, slots=True)
class Streams:
    """Bodies of `content` over and over: MiB that each client stores, MiB of the one all read."""

    usecase: str
    content: Path
    upload: int
    download: int


def main(settings: Settings) -> None:
    scale = 8 if settings.quick else 1
    with workplace(settings) as home:
        plain = Streams("media", bodies.noise(home / "noise", MIB), 64 // scale, 1024 // scale)
        packed = Streams("attachments", bodies.logs(home / "logs", MIB), 64 // scale, 64 // scale)
        needed = (CLIENTS * plain.upload + plain.download) * MIB
        if shutil.disk_usage(home).free < 2 * needed:
            print(f"memory: skipped, it wants {2 * needed // MIB} MiB free in {settings.scratch}")
            return
        with _gateway(settings, home) as server:
            print(f"\nidle: RSS {_mib(server, 'VmRSS')} {_verdict(server, 'VmRSS', IDLE_MOST)}")
        for streams in (plain, packed):
            _measure(settings, home, streams)


def _gateway(settings: Settings, home: Path) -> AbstractContextManager[Server]:
    """A fresh process for each figure, so that none shows what an earlier one left behind."""
    return running(gateway.command(settings, home / "gateway"), home / "log")


def _measure(settings: Settings, home: Path, streams: Streams) -> None:
    content = streams.content.read_bytes()
    with (
        _gateway(settings, home) as server,
        stream.memory_body(streams.upload * MIB, content) as body,
    ):
        paths = [server.path(streams.usecase, f"upload-{number}") for number in range(CLIENTS)]
        title = f"{CLIENTS} clients store {streams.upload} MiB each ({streams.usecase})"
        _peak(server, title, lambda: stream.upload(server, paths, body, CLIENTS))
    with (
        _gateway(settings, home) as server,
        stream.memory_body(streams.download * MIB, content) as body,
    ):
        large = [server.path(streams.usecase, "large")]
        stream.upload(server, large, body, 1)
        title = f"{CLIENTS} clients read one object of {streams.download} MiB ({streams.usecase})"
        _peak(server, title, lambda: stream.download(server, large * CLIENTS, CLIENTS))


def _peak(server: Server, title: str, send: Callable[[], Traffic]) -> None:
    server.forget_peak()
    traffic = send()
    verdict = _verdict(server, "VmHWM", STREAMING_MOST)
    print(f"{title}: peak {_mib(server, 'VmHWM')} {verdict}")
    speed = traffic.size / traffic.seconds / 1e9
    print(f"  {traffic.size / 1e9:.1f} GB in {traffic.seconds:.0f} s, {speed:.2f} GB/s;", end=" ")
    print(
        f"afterwards {_mib(server, 'VmRSS')}, {_mib(server, 'RssAnon')} of it anonymous", flush=True
    )


def _mib(server: Server, field: str) -> str:
    return f"{server.memory(field) / MIB:,.0f} MiB"


def _verdict(server: Server, field: str, most: int) -> str:
    reached = server.memory(field) <= most * MIB
    return f"[aim at most {most} MiB: {'reached' if reached else 'MISSED'}]"


if __name__ == "__main__":
    main(Settings.parse())
