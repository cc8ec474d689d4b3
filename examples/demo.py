"""Pannier's main job on real files: `make demo`.

Starts a gateway on quickstart.yaml in a scratch directory, stores files, reads them back and
compares, and shows what the gateway made of them. Ends with status 0 only if every byte was right.
Other manifests may be named, and options of the gateway behind them:
`examples/demo.py examples/s3.yaml --secrets-dir secrets` does the same in a bucket of S3.
"""

import gzip
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from threading import Timer

from pannier import Client, Expiration, Metadata, NotFound, PannierError, Session

ROOT = Path(__file__).parent.parent
MANIFESTS = os.path.relpath(ROOT / "examples" / "quickstart.yaml")
MIB = 1 << 20
LARGE_MIB = 64
LINE = 128  # bytes of each line of the generated log
LISTENERS = ("--listen", "--admin-listen")
FREE_PORT = "127.0.0.1:0"
START_SECONDS = 30
STOP_SECONDS = 30
READY = re.compile(r"data (http://\S+).*admin http://\S+:(\d+)")
TELLING = re.compile(
    r"pannier_(requests_total|compression_\w+_total|expired_requests_total)(\{.+\}) (\S+)"
)
NEXT = """\
  {bin}/pannier-gateway --manifests examples/quickstart.yaml --data-dir data

  and in another terminal, with any HTTP client:

  curl -T README.md http://127.0.0.1:8650/v1/objects/attachments/_/docs/readme
  curl http://127.0.0.1:8650/v1/objects/attachments/_/docs/readme
  curl 'http://127.0.0.1:8650/v1/objects/attachments/_/?prefix=docs/'

  or with {bin}/python:

  from pannier import Client
  files = Client().session("attachments")
  files.put(b"hello", "greeting", content_type="text/plain")
  print(files.get("greeting").read(), files.head("greeting").time_created)"""


class Failed(Exception):
    """Something that must not be."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where a running gateway listens."""

    data: str
    admin: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A file to store."""

    key: str
    content_type: str
    file: Path


def main() -> int:
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="pannier-demo-") as scratch:
            tour(Path(scratch))
    except KeyboardInterrupt:
        print("\nstopped; nothing is left behind")
        return 130
    except (Failed, PannierError, OSError) as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    return 0


def tour(scratch: Path) -> None:
    with running_gateway(scratch / "data") as gateway, Client(gateway.data) as client:
        files = client.session("attachments", demo="tour")
        log = generate_log(scratch / "app.log")
        title("Files stored, read back, compared")
        store_and_compare(files, [*small_samples(scratch), Sample("app.log", "text/plain", log)])
        title(f"One line out of the middle of the {LARGE_MIB} MiB")
        read_one_line(files, log)
        title("What is there")
        list_objects(files)
        title("An object that lives for a second")
        watch_expiry(client.session("sessions", demo="tour"))
        title(f"What {gateway.admin}/metrics says")
        show_metrics(gateway)
    title("Every byte came back as it went in. Try next:")
    print(NEXT.format(bin=os.path.relpath(Path(sys.prefix, "bin"))))


@contextmanager
def running_gateway(data: Path) -> Iterator[Gateway]:
    """A gateway of our own on free ports, ended by SIGTERM; that has to go well, too."""
    manifests, *more = sys.argv[1:] or [MANIFESTS]
    options = {"--manifests": manifests, "--data-dir": str(data), "--log-level": "warning"}
    options |= dict.fromkeys(LISTENERS, FREE_PORT)
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "pannier_gateway", *chain(*options.items()), *more],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C is for us; the gateway is told by SIGTERM
    ) as process:
        try:
            gateway = await_ready(process)
            print(f"gateway at {gateway.data}, serving {manifests}, up in {since(started)}")
            yield gateway
        finally:
            process.terminate()
            status = end(process)
    if status:
        raise Failed(f"the gateway ended with status {status}")


def await_ready(process: subprocess.Popen[str]) -> Gateway:
    assert process.stdout is not None
    too_late = Timer(START_SECONDS, process.kill)
    too_late.start()
    try:
        for line in process.stdout:
            if found := READY.search(line):
                return Gateway(found[1], f"http://127.0.0.1:{found[2]}")
    finally:
        too_late.cancel()
    if process.wait() == -signal.SIGKILL:
        raise Failed(f"the gateway was not ready within {START_SECONDS} s")
    raise Failed(f"the gateway ended with status {process.returncode} before it was ready")


def end(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def small_samples(scratch: Path) -> list[Sample]:
    compressed = scratch / "LICENSE.gz"
    compressed.write_bytes(gzip.compress((ROOT / "LICENSE").read_bytes()))
    return [
        Sample("README.md", "text/markdown", ROOT / "README.md"),
        Sample("LICENSE", "text/plain", ROOT / "LICENSE"),
        Sample("LICENSE.gz", "application/gzip", compressed),
    ]


def generate_log(path: Path) -> Path:
    """A large text like those that applications write: alike line by line, and never the same."""
    lines = MIB // LINE
    with path.open("w", newline="") as file:
        for part in range(LARGE_MIB):
            order = Random(part).randbytes(8 * lines).hex()
            for number in range(lines):
                text = f"{part * lines + number:010} order {order[16 * number :][:16]} was packed"
                file.write(f"{text:<{LINE - 1}}\n")
    return path


def store_and_compare(files: Session, samples: Iterable[Sample]) -> None:
    row("object", "bytes", "kept", "share", "put", "get")
    for sample in samples:
        started = time.perf_counter()
        pieces = watched(f"storing {sample.key}", pieces_of(sample.file))
        files.put(pieces, sample.key, content_type=sample.content_type)
        put = since(started)

        started = time.perf_counter()
        compare(files, sample)
        row(sample.key, *describe(files.head(sample.key)), put, since(started))


def compare(files: Session, sample: Sample) -> None:
    """Read an object back, piece by piece, beside the file that it came from."""
    with files.get(sample.key) as result, sample.file.open("rb") as file:
        for piece in watched(f"reading {sample.key}", result):
            if piece != file.read(len(piece)):
                raise Failed(f"{sample.key} came back different")
        if file.read(1):
            raise Failed(f"{sample.key} came back shorter")


def describe(metadata: Metadata) -> tuple[str, str, str]:
    """How many bytes came, how many are kept, and their share."""
    kept = metadata.size or 0
    came = kept if metadata.original_size is None else metadata.original_size
    return f"{came:,}", f"{kept:,}", f"{kept / came:.0%}"


def read_one_line(files: Session, log: Path) -> None:
    start = log.stat().st_size // 2
    started = time.perf_counter()
    with files.get(log.name, range=(start, start + LINE)) as result:
        line = result.read()
    took = since(started)

    with log.open("rb") as file:
        file.seek(start)
        if line != file.read(LINE):
            raise Failed(f"bytes {start} to {start + LINE} are not those of the file")
    print(f"  bytes {start:,} to {start + LINE:,}, in {took}:  {line.decode().strip()}")


def list_objects(files: Session) -> None:
    row("key", "bytes kept", "   type".ljust(13))
    for entry in files.list():
        row(entry.key, f"{entry.size:,}", f"   {entry.content_type}")


def watch_expiry(sessions: Session) -> None:
    lifetime = timedelta(seconds=2)
    sessions.put(b"for a moment", "token", expiration=Expiration.ttl(lifetime))
    started = time.monotonic()
    print(f"  stored for {lifetime.seconds} s: {sessions.get('token').read().decode()!r}")
    while exists(sessions, "token"):
        if time.monotonic() - started > 10 * lifetime.seconds:
            raise Failed("the object outlived its time")
        time.sleep(0.1)
    if list(sessions.list()):
        raise Failed("the object has expired and is still listed")
    print(f"  gone after {time.monotonic() - started:.2f} s: not found, and not listed")


def exists(session: Session, key: str) -> bool:
    try:
        session.head(key)
    except NotFound:
        return False
    return True


def show_metrics(gateway: Gateway) -> None:
    with urllib.request.urlopen(f"{gateway.admin}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    telling = [found for line in lines if (found := TELLING.match(line))]
    if not telling:
        raise Failed("the metrics say nothing of what was done")
    for name, labels, value in (found.groups() for found in telling):
        print(f"  pannier_{name}{labels} {float(value):,.0f}")


def pieces_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from iter(partial(opened.read, MIB), b"")


def watched(doing: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same pieces, with a line that counts them: live on a terminal, quarters in a log."""
    live, done, told = sys.stdout.isatty(), 0, 0
    for piece in pieces:
        yield piece
        done += len(piece)
        if done - told >= (MIB if live else LARGE_MIB * MIB // 4):
            told = done
            line = f"  {doing}: {done // MIB} MiB"
            print(f"\r\x1b[K{line}" if live else line, end="" if live else "\n", flush=True)
    if live and told:
        print("\r\x1b[K", end="", flush=True)


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def row(name: str, *cells: str) -> None:
    print(f"  {name:<12}" + "".join(f"{cell:>13}" for cell in cells), flush=True)


def since(started: float) -> str:
    seconds = time.perf_counter() - started
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
