"""Certificates that are renewed every two seconds, of a gateway and of its hub, under load.

Both follow their files; connections that are open go on, and are kept for five minutes. So that new
ones are made all the time, now and then a crowd asks at once: what it needed ends after four idle
seconds. A request that does not come out as it should is a failure.
"""

import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import urlopen

from cryptography import x509

from bench.report import limit
from bench.settings import KIB, Settings

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from pannier import Client  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.gateway import Gateway, started  # noqa: E402

EVERY_SECONDS = 2.0
SECONDS, QUICK_SECONDS = 60.0, 12.0
STEADY, CROWD = 4, 32
CROWD_SECONDS = 5.0
BODY = random.Random(8650).randbytes(32 * KIB)
WEB = x509.UniformResourceIdentifier("spiffe://prod/ns/default/sa/web")
CLIENTS = "clients: [{identity: spiffe://prod/*, usecases: [attachments]}]"
APPLIED = r'^pannier_certificate_reloads_total\{.*"applied".*\} (\S+)$'


class Counted:
    """Requests, and those that failed."""

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0


@contextmanager
def pair(folder: Path, authority: Authority) -> Iterator[tuple[Gateway, Gateway]]:
    """A gateway, and the hub behind it."""
    renew(folder, authority)
    rules, manifests = folder / "clients.yaml", folder / "hub.yaml"
    rules.write_text(CLIENTS)
    quickstart, example = (ROOT / "examples" / name for name in ("quickstart.yaml", "hub.yaml"))
    tls = ["--tls-listen", "127.0.0.1:0", "--tls-dir", str(folder / "certs" / "server")]
    kept = ["--manifests", str(quickstart), "--data-dir", str(folder / "kept")]
    with started([*kept, *tls, "--tls-clients", str(rules)], folder / "hub.log") as hub:
        port = urlsplit(hub.tls_url or "").port
        manifests.write_text(example.read_text().replace(":8652", f":{port}"))
        ours = ["--manifests", str(manifests), "--data-dir", str(folder / "data")]
        secrets = ["--secrets-dir", str(folder / "certs")]
        with started([*ours, *secrets], folder / "gateway.log") as gateway:
            yield gateway, hub


def renew(folder: Path, authority: Authority) -> None:
    """New files for both, each put in place at once, one after the other: for a moment a pair does
    not fit together."""
    for name, names in (("server", None), ("web", (WEB,))):
        fresh = folder / "fresh" / name
        issued = authority.issue(fresh) if names is None else authority.issue(fresh, names)
        place = folder / "certs" / name
        place.mkdir(parents=True, exist_ok=True)
        for file in ("ca.crt", "tls.crt", "tls.key"):
            (issued / file).replace(place / file)


def use(url: str, name: str, over: Event, counted: Counted) -> None:
    """Put and get until it is over, over one connection to the gateway."""
    with Client(url) as client:
        session = client.session("attachments")
        while not over.is_set():
            one(lambda: session.put(BODY, name), counted)
            one(lambda: expect(session.get(name).read()), counted)


def one(act: Callable[[], object], counted: Counted) -> None:
    counted.requests += 1
    try:
        act()
    except Exception as error:  # noqa: BLE001  # each is one, whatever it is called
        counted.failures += 1
        print(f"  failed: {error!r:.200}", flush=True)


def expect(body: bytes) -> None:
    assert body == BODY, "other bytes"


def crowd(url: str, over: Event, counted: Counted) -> None:
    """All at once, and again after a while."""
    with ThreadPoolExecutor(CROWD) as threads, Client(url) as client:
        session = client.session("attachments")

        def read() -> None:
            expect(session.get("steady0").read())

        while not over.wait(CROWD_SECONDS):
            for each in [threads.submit(one, read, counted) for _ in range(CROWD)]:
                each.result()


def taken_up(gateway: Gateway) -> int:
    """How often it took up newer certificates."""
    with urlopen(f"{gateway.admin_url}/metrics") as page:
        text = page.read().decode()
    return int(sum(float(found) for found in re.findall(APPLIED, text, re.MULTILINE)))


class Rotated(NamedTuple):
    """What everybody counted; how often certificates were renewed, and taken up by each."""

    counted: list[Counted]
    renewed: int
    by_gateway: int
    by_hub: int


def rotate(folder: Path, seconds: float) -> Rotated:
    authority, over = Authority(), Event()
    counts = [Counted() for _ in range(STEADY + 1)]
    with pair(folder, authority) as (gateway, hub), ThreadPoolExecutor(STEADY + 1) as threads:
        work = [
            threads.submit(use, gateway.url, f"steady{number}", over, counts[number])
            for number in range(STEADY)
        ]
        work.append(threads.submit(crowd, gateway.url, over, counts[STEADY]))
        times = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(EVERY_SECONDS)
            renew(folder, authority)
            times += 1
        over.set()
        for each in work:
            each.result()
        return Rotated(counts, times, taken_up(gateway), taken_up(hub))


def main(settings: Settings) -> None:
    settings.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.scratch) as home:
        seconds = QUICK_SECONDS if settings.quick else SECONDS
        done = rotate(Path(home), seconds)
    requests = sum(each.requests for each in done.counted)
    print(
        f"certificates renewed {done.renewed} times in {seconds:.0f} s; the gateway took up "
        f"{done.by_gateway}, the hub {done.by_hub}; {requests:,} requests"
    )
    print(limit("failed requests", sum(each.failures for each in done.counted), 0, "of them"))


if __name__ == "__main__":
    main(Settings.parse())
