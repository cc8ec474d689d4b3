"""The admin pages of several workers as one: their metrics side by side, their health together."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from pannier_gateway.admin import config_page

ANSWER_SECONDS = 3.0  # within which a worker answers, or is taken for stuck
TEXT = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}

Answers = Mapping[int, tuple[int, str]]  # of workers: status and body; of a stuck one 504


class Overview:
    """Asks the workers that are `ready`: by their number, where their own pages are.

    `whole` once all have been ready together, `draining` from the order to end on.
    """

    def __init__(self) -> None:
        self.ready: dict[int, str] = {}
        self.whole = False
        self.draining = False
        self._registry = CollectorRegistry()
        self.starts = Counter(
            "pannier_worker_starts",
            "Processes started, of --workers.",
            ["worker"],
            registry=self._registry,
        )
        self.up = Gauge("pannier_worker_up", "1: it serves.", ["worker"], registry=self._registry)
        self._session: ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Overview of {self.ready}>"

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Workers can be asked for as long as the block lasts."""
        timeout = ClientTimeout(total=ANSWER_SECONDS)
        async with ClientSession(timeout=timeout) as self._session:
            yield

    async def metrics(self, _: web.Request) -> web.Response:
        answers = await self._ask_all("/metrics")
        texts = {number: text for number, (status, text) in answers.items() if status == 200}
        body = await asyncio.to_thread(rendered, self._registry, texts)
        return web.Response(body=body, headers=TEXT)

    async def livez(self, _: web.Request) -> web.Response:
        """One stuck worker is enough: a restart of all is what ends that."""
        return together(await self._ask_all("/livez"))

    async def readyz(self, _: web.Request) -> web.Response:
        """One ready worker is enough: the kernel gives connections to those that listen."""
        if self.draining:
            return web.Response(status=503, text="shutting down\n")
        answers = await self._ask_all("/readyz")
        well = {number: each for number, each in answers.items() if each[0] == 200}
        if not answers:
            return web.Response(status=503, text="no worker is ready\n")
        return together(well or answers)

    async def startupz(self, _: web.Request) -> web.Response:
        if not self.whole:
            return web.Response(status=503, text="starting\n")
        return web.Response(text="ok\n")

    async def configz(self, _: web.Request) -> web.Response:
        """That of one of them, for they all follow the same; and of any that is not as far."""
        answers = await self._ask_all("/configz")
        if not answers:
            return web.Response(status=503, text="no worker is ready\n")
        return config_page(compared(answers))

    async def _ask_all(self, page: str) -> Answers:
        numbers = sorted(self.ready)
        answers = await asyncio.gather(*(self._ask(number, page) for number in numbers))
        return dict(zip(numbers, answers, strict=True))

    async def _ask(self, number: int, page: str) -> tuple[int, str]:
        assert self._session is not None
        try:
            async with self._session.get(self.ready[number] + page) as answer:
                return answer.status, await answer.text()
        except (ClientError, KeyError, TimeoutError) as error:
            return 504, f"no answer: {error!r}\n"


class Gathered(Collector):
    """What all workers tell, each sample labelled with its worker."""

    def __init__(self, texts: Mapping[int, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for number, text in self._texts.items():
            for found in text_string_to_metric_families(text):
                family = families.setdefault(found.name, empty(found))
                family.samples += (labelled(sample, number) for sample in found.samples)
        return families.values()


def labelled(sample: Sample, number: int) -> Sample:
    return sample._replace(labels=sample.labels | {"worker": str(number)})


def empty(family: Metric) -> Metric:
    return Metric(family.name, family.documentation, family.type, family.unit)


def rendered(own: CollectorRegistry, texts: Mapping[int, str]) -> bytes:
    gathered = CollectorRegistry()
    gathered.register(Gathered(texts))
    return generate_latest(own) + generate_latest(gathered)


def compared(answers: Answers) -> dict[str, object]:
    """The page of a worker that answers, and below `differing` those that say something else.

    The digest stands for the configuration: its generation may count what a process has seen.
    """
    pages = {number: page(*answer) for number, answer in answers.items()}
    first = min(pages, key=lambda number: (answers[number][0] != 200, number))
    said = pages[first] | {"config": None}
    differing = {n: each for n, each in pages.items() if each | {"config": None} != said}
    return pages[first] | {"differing": differing}


def page(status: int, text: str) -> dict[str, object]:
    return msgspec.json.decode(text, type=dict) if status == 200 else {"problem": text.strip()}


def together(answers: Answers) -> web.Response:
    """200 where all are well, else 503, and what each says."""
    worst = max((status for status, _ in answers.values()), default=200)
    text = "".join(f"worker {number}: {told}" for number, (_, told) in answers.items())
    return web.Response(status=200 if worst == 200 else 503, text=text or "ok\n")
