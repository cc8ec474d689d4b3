"""The admin listener: its pages, and the metrics as a scraper sees them."""

import asyncio
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import pytest
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pannier_gateway import lag
from pannier_gateway.admin import Admin, ConfigPage, application
from pannier_gateway.config.source import NOTHING
from pannier_gateway.lag import LoopLag
from support.gateway import Gateway
from support.wire import Wire, exchange, head
from support.zstd_bodies import text

TEXT = text(50_000)
NONE_YET = ConfigPage("", None, (), {}, {}, NOTHING.config)


class Scrape:
    """The samples of one page, by name and labels."""

    def __init__(self, gateway: Gateway) -> None:
        answer = exchange(gateway.admin_url, "GET", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        self.families = list(text_string_to_metric_families(answer.body.decode()))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name whose labels include these."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class Growth:
    """What has been added to each sample since it was made."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before = Scrape(gateway)

    def by(self, name: str, **labels: str) -> float:
        return Scrape(self._gateway).value(name, **labels) - self._before.value(name, **labels)


@pytest.fixture
def growth(gateway: Gateway) -> Growth:
    return Growth(gateway)


# Pages


def test_the_pages_are_there_and_the_index_names_them(gateway: Gateway) -> None:
    index = exchange(gateway.admin_url, "GET", "/")

    pages = [line.split("\t")[0] for line in index.body.decode().splitlines()]
    assert pages == ["/metrics", "/livez", "/readyz", "/startupz", "/configz"]
    for page in pages:
        assert exchange(gateway.admin_url, "GET", page).status == 200


@pytest.mark.parametrize("page", ["/livez", "/readyz", "/startupz"])
def test_a_probe_that_is_content_says_ok(gateway: Gateway, page: str) -> None:
    answer = exchange(gateway.admin_url, "GET", page)

    assert (answer.status, answer.body) == (200, b"ok\n")
    assert exchange(gateway.admin_url, "HEAD", page).status == 200


def test_the_configuration_in_force_can_be_looked_at(gateway: Gateway) -> None:
    answer = exchange(gateway.admin_url, "GET", "/configz")

    page = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert len(page["digest"]) == 64
    assert page["config"]["usecases"]["limited"]["limits"] == {"maxObjectBytes": 100_000}
    stores = page["stores"]
    assert stores.keys() == {"default/main", "default/archive", "default/elsewhere"}
    assert re.fullmatch("files in /.*/data/default/archive", stores["default/archive"]["by"])
    assert stores["default/archive"]["usecases"] == ["archived"]
    assert {"plain", "Old_Name"} < {*stores["default/main"]["usecases"]}
    assert stores["default/elsewhere"]["usecases"] == ["far-away"]
    assert "default/elsewhere" in stores["default/elsewhere"]["by"]


def test_what_was_left_out_of_the_configuration_can_be_looked_at(gateway: Gateway) -> None:
    page = json.loads(exchange(gateway.admin_url, "GET", "/configz").body)

    assert page["problem"] is None
    assert page["refused"] == [
        {
            "resource": "Usecase default/homeless",
            "reason": "BucketNotFound",
            "message": "there is no Bucket default/nowhere: declare it, "
            "or correct spec.bucketRef.name",
            "usecase": "Home_less",
        }
    ]


def test_objects_are_not_served_where_the_pages_are_nor_the_other_way_round(
    gateway: Gateway, plain: str
) -> None:
    for method in ("GET", "PUT", "DELETE"):
        refused = exchange(gateway.admin_url, method, plain + "k", body=b"x")
        assert refused.status == 421
        assert "objects are at the address given as --listen" in refused.body.decode()
    for page in ("/metrics", "/configz", "/livez"):
        lost = exchange(gateway.url, "GET", page)
        assert lost.status == 404
        assert "metrics at the address given as --admin-listen" in lost.detail


@pytest.mark.parametrize("header", ["origin: https://pages.example", "sec-fetch-site: cross-site"])
def test_web_pages_are_told_nothing_and_scrapers_may_use_any_name(
    gateway: Gateway, header: str
) -> None:
    name, _, value = header.partition(": ")
    for page in ("/metrics", "/configz"):
        refused = exchange(gateway.admin_url, "GET", page, {name: value})
        assert refused.status == 403
        assert name in refused.body.decode()
        named = exchange(gateway.admin_url, "GET", page, {"host": "pod.namespace.example"})
        assert named.status == 200


def test_who_is_lost_is_told_what_pages_there_are(gateway: Gateway) -> None:
    index = exchange(gateway.admin_url, "GET", "/").body.decode()

    for method, page, status in (("GET", "/metric", 404), ("POST", "/metrics", 405)):
        answer = exchange(gateway.admin_url, method, page)
        assert answer.status == status
        assert answer.body.decode().endswith(f"; GET here:\n{index}")


@pytest.mark.parametrize("page", ["/", "/configz", "/metrics", "/absent", "/v1/objects/media/_/k"])
def test_a_page_ends_its_line_and_does_not_tell_what_serves_it(gateway: Gateway, page: str) -> None:
    answer = exchange(gateway.admin_url, "GET", page)

    assert answer.body.endswith(b"\n")
    assert "server" not in answer.headers


def test_nothing_but_reading_is_offered(gateway: Gateway) -> None:
    for page in ("/", "/metrics", "/configz", "/readyz"):
        for method in ("POST", "PUT", "DELETE"):
            assert exchange(gateway.admin_url, method, page, body=b"x").status == 405


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HTTP/1.1\r\n:\r\n\r\n",
    ],
)
def test_a_malformed_request_for_a_page_is_refused_without_a_traceback(
    gateway: Gateway, request_bytes: bytes
) -> None:
    with Wire(gateway.admin_url) as wire:
        wire.send(request_bytes)
        refusal = wire.rest()

    assert b" 400 " in refusal
    assert b"Traceback" not in refusal
    assert "Traceback" not in gateway.log.read_text()
    assert exchange(gateway.admin_url, "GET", "/livez").status == 200


@dataclass
class Ailing:
    """What the pages tell, set at will: no real gateway is stuck or half started to order."""

    lag: float = 0.0
    draining: bool = False
    waiting: str | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    in_force: ConfigPage = NONE_YET


async def statuses(admin: Admin, pages: Iterable[str]) -> dict[str, int]:
    async with TestServer(application(admin)) as server:
        url = str(server.make_url("/"))
        return {
            page: (await asyncio.to_thread(exchange, url, "GET", page)).status for page in pages
        }


@pytest.mark.parametrize(
    ("status", "answers"),
    [
        (Ailing(), {"/livez": 200, "/readyz": 200, "/startupz": 200}),
        (Ailing(lag=9.9), {"/livez": 200, "/readyz": 200, "/startupz": 200}),
        (Ailing(lag=10.1), {"/livez": 503, "/readyz": 200, "/startupz": 200}),
        (Ailing(waiting="for it"), {"/livez": 200, "/readyz": 503, "/startupz": 503}),
        (Ailing(draining=True), {"/livez": 200, "/readyz": 503, "/startupz": 200}),
    ],
    ids=["well", "late", "stuck", "waiting", "draining"],
)
async def test_a_probe_tells_its_own_trouble_and_no_other(
    status: Ailing, answers: dict[str, int]
) -> None:
    admin = Admin(status)
    admin.started = True

    assert await statuses(admin, answers) == answers


async def test_a_gateway_without_its_listeners_has_not_started() -> None:
    answers = {"/livez": 200, "/readyz": 503, "/startupz": 503}

    assert await statuses(Admin(Ailing()), answers) == answers


async def test_a_loop_that_is_blocked_is_seen_to_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "INTERVAL", 0.01)  # a test need not wait for half a second
    observed: list[float] = []
    seen = asyncio.Event()

    def observe(seconds: float) -> None:
        observed.append(seconds)
        if len(observed) > 1:
            seen.set()

    watched = LoopLag(observe)
    running = asyncio.create_task(watched.run())
    await asyncio.sleep(0)
    blocked_until = monotonic() + 0.2
    while monotonic() < blocked_until:
        pass

    assert watched.seconds > 0.15  # which a probe in another thread could see already
    await seen.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert observed[0] > 0.15


# Metrics


def test_requests_are_counted_by_usecase_operation_and_class_of_status(
    wire: Wire, plain: str, scope: str, growth: Growth
) -> None:
    for key in ("1", "2"):
        wire.ask("PUT", plain + key, body=bytes(1000))
    wire.ask("GET", plain + "1")
    wire.ask("GET", plain + "1", {"range": "bytes=0-99"})
    wire.ask("GET", plain + "absent")
    wire.ask("GET", plain)
    wire.ask("PUT", f"/v1/objects/no-writes/{scope}/k", body=b"x")

    count = "pannier_requests_total"
    assert growth.by(count, usecase="plain", operation="put", status="2xx") == 2
    assert growth.by(count, usecase="plain", operation="get", status="2xx") == 2
    assert growth.by(count, usecase="plain", operation="get", status="4xx") == 1
    assert growth.by(count, usecase="plain", operation="list", status="2xx") == 1
    assert growth.by(count, usecase="no-writes", operation="put", status="5xx") == 1
    assert growth.by("pannier_received_bytes_total", usecase="plain", operation="put") == 2000
    sent = {"usecase": "plain", "operation": "get", "status": "2xx"}
    assert growth.by("pannier_sent_bytes_total", **sent) == 1100


def test_how_long_requests_take_falls_into_buckets(wire: Wire, plain: str, growth: Growth) -> None:
    wire.ask("PUT", plain + "k", body=bytes(16 << 20))
    wire.ask("GET", plain + "k")

    whole, first = "pannier_request_duration_seconds", "pannier_request_first_byte_seconds"
    for histogram in (whole, first):
        assert growth.by(f"{histogram}_count", usecase="plain") == 2
        assert growth.by(f"{histogram}_bucket", usecase="plain", le="+Inf") == 2
        assert growth.by(f"{histogram}_bucket", usecase="plain", le="0.0005") < 2
    took = growth.by(f"{whole}_sum", operation="get")
    assert 0 < growth.by(f"{first}_sum", operation="get") < took < 60


def test_what_strangers_send_makes_no_labels(gateway: Gateway, wire: Wire) -> None:
    before = {str(sample.labels) for sample in Scrape(gateway).samples}
    for number in range(30):
        wire.ask("GET", f"/v1/objects/stranger-{number}/_/k")
        wire.ask("GET", f"/nowhere/{number}")
        wire.ask("PROPFIND", f"/v1/objects/plain/_/{number}")
        wire.ask("PUT", f"/v1/objects/plain/number={number}/k", body=b"x")

    new = {str(sample.labels) for sample in Scrape(gateway).samples} - before
    assert not [labels for labels in new if "stranger" in labels or "PROPFIND" in labels]
    assert len(new) < 150


def test_a_request_counts_as_in_flight_until_its_body_is_there(
    wire: Wire, plain: str, growth: Growth
) -> None:
    wire.send(head("PUT", plain + "k", {"content-length": "5"}) + b"by")
    while growth.by("pannier_requests_in_flight") != 1:
        pass
    wire.send(b"tes")
    assert wire.answer().status == 200

    assert growth.by("pannier_requests_in_flight") == 0


def test_bytes_before_and_after_compression_are_counted(
    wire: Wire, plain: str, packed: str, growth: Growth
) -> None:
    for place in (plain, packed):
        wire.ask("PUT", place + "k", body=TEXT)
    stored = wire.ask("HEAD", packed + "k").headers["x-sn-size"]

    assert growth.by("pannier_compression_input_bytes_total", usecase="packed") == len(TEXT)
    assert growth.by("pannier_compression_output_bytes_total") == int(stored)
    assert growth.by("pannier_compression_input_bytes_total", usecase="plain") == 0


def test_asking_for_what_has_expired_is_counted(wire: Wire, plain: str, growth: Growth) -> None:
    wire.ask("PUT", plain + "k", {"x-sn-expiration": "ttl:0"}, b"x")
    wire.ask("GET", plain + "k")
    wire.ask("GET", plain + "never")

    assert growth.by("pannier_expired_requests_total", usecase="plain") == 1


def test_the_stores_operations_are_counted_and_timed(
    wire: Wire, plain: str, growth: Growth
) -> None:
    wire.ask("PUT", plain + "k", body=b"x")
    wire.ask("GET", plain + "k")
    wire.ask("GET", plain + "absent")
    wire.ask("GET", plain)
    wire.ask("DELETE", plain + "k")

    count = "pannier_store_operation_duration_seconds_count"
    for operation in ("put", "open", "list", "delete"):
        labels = {"bucket": "default/main", "operation": operation, "outcome": "ok"}
        assert growth.by(count, **labels) == 1
    assert growth.by(count, operation="open", outcome="ObjectNotFound") == 1


def test_the_configuration_and_the_loop_are_measured(gateway: Gateway) -> None:
    scrape = Scrape(gateway)

    digest = json.loads(exchange(gateway.admin_url, "GET", "/configz").body)["digest"]
    assert scrape.value("pannier_config_info", digest=digest, generation="1") == 1
    assert scrape.value("pannier_config_reloads_total", result="refused") == 0
    assert scrape.value("pannier_config_age_seconds") > 0
    assert any(each.name == "pannier_event_loop_lag_seconds_bucket" for each in scrape.samples)


def test_every_metric_of_ours_has_its_name_its_unit_and_its_help(gateway: Gateway) -> None:
    exchange(gateway.url, "GET", "/v1/objects/plain/_/k")
    foreign = ("process_", "python_")

    for family in Scrape(gateway).families:
        assert family.name.startswith(("pannier_", *foreign))
        assert family.documentation
        assert not family.name.endswith(("_ms", "_milliseconds", "_kb"))
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_a_scraper_that_speaks_openmetrics_is_answered_in_it(gateway: Gateway) -> None:
    accept = {"accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"}

    answer = exchange(gateway.admin_url, "GET", "/metrics", accept)

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = list(
        openmetrics.text_string_to_metric_families(  # type: ignore[no-untyped-call]  # not typed there
            answer.body.decode()
        )
    )
    assert "pannier_requests" in {family.name for family in families}
