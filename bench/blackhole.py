"""One of three endpoints swallows everything: what the users of a gateway notice, second by second.

Each endpoint is a proxy in front of one engine; one of them is stopped (SIGSTOP): its kernel goes
on taking connections and bytes, and nobody answers.
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import NamedTuple

from bench.faults import CALM, NOTHING, ROOT, Body, Pannier, meet, quantile
from bench.report import limit
from bench.settings import KIB, Settings
from support import example  # bench.faults says where that is
from support.engines import Engine, make_bucket, versitygw
from support.gateway import running_gateway

BEFORE, AFTER = 10, 30  # seconds
ENDPOINTS, USERS, KEYS_EACH = 3, 8, 512
SIZES = (KIB, 16 * KIB, 256 * KIB)
NOISE = random.Random(8650).randbytes(1 << 20)
NORMAL = 2.0  # times what it was before, with a floor
FLOOR = 0.1  # seconds
AIM_SECONDS, AIM_ERRORS = 10, 0


class Sample(NamedTuple):
    """When an operation ended, and how long it took, in seconds."""

    ended: float
    seconds: float


class User:
    """Somebody who puts and gets small objects, and looks at them."""

    def __init__(self, url: str, number: int) -> None:
        self.samples: list[Sample] = []
        self.errors = 0
        self._store = Pannier(url)
        self._number = number
        self._dice = random.Random(number)
        self._there: dict[str, Body] = {}

    def work(self, over: Event) -> None:
        while not over.is_set():
            key = f"u{self._number}/{self._dice.randrange(KEYS_EACH)}"
            began = time.monotonic()
            try:
                (self._get if key in self._there and self._dice.random() < 0.6 else self._put)(key)
            except Exception as error:  # noqa: BLE001  # each is one, whatever it is called
                self.errors += 1
                print(f"  {error!r:.160}", flush=True)
            ended = time.monotonic()
            self.samples.append(Sample(ended, ended - began))

    def _put(self, key: str) -> None:
        size = self._dice.choice(SIZES)
        start = self._dice.randrange(len(NOISE) - size)
        body = NOISE[start : start + size]
        self._store.put(key, body)
        self._there[key] = Body.of(body)

    def _get(self, key: str) -> None:
        assert Body.of(self._store.get(key)) == self._there.get(key, NOTHING), "other bytes"


@contextmanager
def proxies(engine: Engine) -> Iterator[list[tuple[subprocess.Popen[str], str]]]:
    """Each in a process of its own, and where it listens."""
    command = [sys.executable, "-m", "bench.faults", "proxy", str(engine.port), *map(str, CALM)]
    with ExitStack() as running:
        found = []
        for _ in range(ENDPOINTS):
            process = running.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            running.callback(process.kill)
            assert process.stdout is not None
            found.append((process, f"http://127.0.0.1:{int(process.stdout.readline())}"))
        yield found


def load(users: list[User], act: Callable[[], None], after: float) -> float:
    """Have them work for BEFORE seconds, and for so many after `act`; when that was."""
    over = Event()
    with ThreadPoolExecutor(USERS) as threads:
        work = [threads.submit(user.work, over) for user in users]
        time.sleep(BEFORE)
        act()
        at = time.monotonic()
        time.sleep(after)
        over.set()
        for each in work:
            each.result()
    return at


def by_second(samples: list[Sample], at: float) -> dict[int, list[float]]:
    """Of operations that ended then: seconds from `at` on."""
    found: dict[int, list[float]] = {}
    for sample in samples:
        found.setdefault(int((sample.ended - at) // 1), []).append(sample.seconds)
    return dict(sorted(found.items()))


def p99(seconds: Mapping[int, list[float]], start: int, stop: int) -> float:
    return quantile((each for s in range(start, stop) for each in seconds.get(s, [])), 0.99)


def back_after(seconds: Mapping[int, list[float]]) -> int:
    """Seconds from which on the p99 of all that followed is normal."""
    last = max(seconds)
    normal = max(FLOOR, NORMAL * p99(seconds, -BEFORE, 0))
    return next((s for s in range(last) if p99(seconds, s, last + 1) <= normal), last)


def report(users: list[User], at: float) -> None:
    samples = [sample for user in users for sample in user.samples]
    seconds = by_second(samples, at)
    shown = {second: f"{quantile(each, 0.99) * 1e3:.0f}" for second, each in seconds.items()}
    print(f"{len(samples):,} operations; p99 in milliseconds, second by second:")
    print("  before: " + " ".join(text for second, text in shown.items() if second < 0))
    print("  after:  " + " ".join(text for second, text in shown.items() if second >= 0))
    slowest = max(sample.seconds for sample in samples if sample.ended >= at)
    print(f"  the slowest after: {slowest * 1e3:,.0f}")
    print(limit("errors", sum(user.errors for user in users), AIM_ERRORS, "in all"))
    print(limit("p99 back to normal after", back_after(seconds), AIM_SECONDS, "s"))


def main(settings: Settings) -> None:
    settings.scratch.mkdir(parents=True, exist_ok=True)
    after = AFTER / 2 if settings.quick else AFTER
    with (
        TemporaryDirectory(dir=settings.scratch) as home,
        versitygw(Path(home) / "engine") as engine,
        proxies(engine) as endpoints,
    ):
        make_bucket(engine)
        manifest = Path(home) / "s3.yaml"
        named = ", ".join(f'"{url}"' for _, url in endpoints)
        text = example.plain("PLACE").replace('["PLACE"]', f"[{named}]")
        manifest.write_text(text.replace("compression: Zstd", "compression: None"))
        with running_gateway(Path(home) / "data", manifests=manifest) as gateway:
            meet(Pannier(gateway.url))
            users = [User(gateway.url, number) for number in range(USERS)]
            swallowed, _ = endpoints[1]
            at = load(users, partial(swallowed.send_signal, signal.SIGSTOP), after)
    report(users, at)


if __name__ == "__main__":
    main(Settings.parse())
