"""Alerts and dashboards: that they ask for what there is, and say something when they should."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client import Metric

from pannier_gateway.stores.s3.traits import Traits
from pannier_operator.injector import sidecar
from pannier_operator.injector.template import filled as filled_in
from support.binaries import ROOT, binary
from support.charts import CHART, case, of_kind, one, rendered
from support.cluster import free_ports, running
from support.exposition import PROCESSES, exposed, sample_names
from support.operators import eventually

Json = dict[str, Any]

RULES = CHART / "files" / "rules.yaml"
BOARDS = sorted((CHART / "files" / "dashboards").glob("*.yaml"))
PROMISES = re.compile(r'promise=~"([^"]+)"')
METRIC = re.compile(r"\b(?:pannier|process|python)_\w+")
NAMES = {name for make in PROCESSES.values() for name in sample_names(make())}

HEALTHY = {  # an hour in which all is well, a value a minute
    'pannier_operator_leader{instance="o"}': "1x60",
    "pannier_operator_world_listed_timestamp_seconds": "0+60x60",
    'pannier_operator_reconciles_total{result="failed"}': "0x60",
    "pannier_operator_queue_oldest_seconds": "0x60",
    'pannier_operator_usecases{ready="True",reason="Ready"}': "3x60",
    'pannier_operator_config_bytes{namespace="a"}': "1000x60",
    "pannier_injector_reviews_in_flight": "0x60",
    'pannier_injector_reviews_total{result="failed"}': "0x60",
    "pannier_injector_certificate_expiry_timestamp_seconds": "1000000x60",
    'pannier_requests_total{namespace="a",usecase="u",status="2xx"}': "0+100x60",
    'pannier_requests_total{namespace="a",usecase="u",status="5xx"}': "0+1x60",
    'pannier_config_reloads_total{result="refused",namespace="a",pod="p"}': "0x60",
    'pannier_config_info{namespace="a",pod="p",digest="1"}': "1x60",
    'pannier_event_loop_lag_seconds_bucket{namespace="a",pod="p",le="0.5"}': "0+100x60",
    'pannier_event_loop_lag_seconds_bucket{namespace="a",pod="p",le="+Inf"}': "0+100x60",
    'pannier_bucket_up{namespace="a",pod="p",bucket="a/b"}': "1x60",
    'pannier_store_promise{namespace="a",pod="p",bucket="a/b",promise="damage refused"}': "1x60",
    'pannier_store_promise{namespace="a",pod="p",bucket="a/b",promise="lifecycle"}': "0x60",
    'pannier_certificate_expiry_seconds{namespace="a",pod="p",user="a/b",file="certificate"}': (
        "1000000x60"
    ),
    'pannier_certificate_reloads_total{namespace="a",pod="p",user="a/b",result="refused"}': "0x60",
    'pannier_tls_unverified{namespace="a",pod="p",user="a/b"}': "0x60",
}
BROKEN = {  # and what is different where something is not
    "PannierOperatorAbsent": {'pannier_operator_leader{instance="o"}': "0x60"},
    "PannierOperatorBlind": {"pannier_operator_world_listed_timestamp_seconds": "60x60"},
    "PannierOperatorFails": {'pannier_operator_reconciles_total{result="failed"}': "0+1x60"},
    "PannierOperatorLate": {"pannier_operator_queue_oldest_seconds": "0+60x60"},
    "PannierUsecaseNotReady": {
        'pannier_operator_usecases{ready="False",reason="BucketNotFound"}': "2x60"
    },
    "PannierConfigNearlyFull": {'pannier_operator_config_bytes{namespace="a"}': "800000x60"},
    "PannierInjectorAbsent": {"pannier_injector_reviews_in_flight": "_x60"},
    "PannierInjectorFails": {'pannier_injector_reviews_total{result="failed"}': "0+1x60"},
    "PannierInjectorCertificateExpires": {
        "pannier_injector_certificate_expiry_timestamp_seconds": "500000x60"
    },
    "PannierGatewayErrors": {
        'pannier_requests_total{namespace="a",usecase="u",status="5xx"}': "0+10x60"
    },
    "PannierGatewayConfigRefused": {
        'pannier_config_reloads_total{result="refused",namespace="a",pod="p"}': "0+1x60"
    },
    "PannierGatewayConfigsDiffer": {
        'pannier_config_info{namespace="a",pod="q",digest="2"}': "1x60"
    },
    "PannierGatewayLate": {
        'pannier_event_loop_lag_seconds_bucket{namespace="a",pod="p",le="0.5"}': "0x60",
        'pannier_event_loop_lag_seconds_bucket{namespace="a",pod="p",le="5.0"}': "0+100x60",
    },
    "PannierBucketDown": {'pannier_bucket_up{namespace="a",pod="q",bucket="a/b"}': "0x60"},
    "PannierStoreBreaksPromise": {
        'pannier_store_promise{namespace="a",pod="p",bucket="a/b",promise="damage refused"}': "0x60"
    },
    "PannierGatewayCertificateExpires": {
        'pannier_certificate_expiry_seconds{namespace="a",pod="q",user="a/b",file="authority"}': (
            "500000x60"
        )
    },
    "PannierGatewayCertificateRefused": {
        'pannier_certificate_reloads_total{namespace="a",pod="p",user="a/b",result="refused"}': (
            "0x30 1x30"
        )
    },
    "PannierStoreUnverified": {'pannier_tls_unverified{namespace="a",pod="p",user="a/b"}': "1x60"},
}


def groups() -> list[Json]:
    return list(yaml.safe_load(RULES.read_text()))


def alerts() -> list[Json]:
    return [rule for group in groups() for rule in group["rules"]]


def queries(board: Path) -> list[tuple[str, str]]:
    """The title of each panel, and what it asks for."""
    panels = yaml.safe_load(board.read_text())["panels"]
    return [(panel["title"], query["expr"]) for panel in panels for query in panel["queries"]]


def named(path: Path) -> str:
    return path.stem


# What there is


def test_every_metric_that_an_alert_is_about_exists() -> None:
    for alert in alerts():
        asked = set(METRIC.findall(alert["expr"]))

        assert asked
        assert asked <= NAMES, alert["alert"]


def test_every_promise_that_an_alert_is_about_is_one_that_stores_are_asked_for() -> None:
    (asked,) = (found for each in alerts() for found in PROMISES.findall(each["expr"]))

    assert set(asked.split("|")) <= set(Traits().promises)


@pytest.mark.parametrize("board", BOARDS, ids=named)
def test_every_metric_of_a_panel_exists(board: Path) -> None:
    for title, expression in queries(board):
        asked = set(METRIC.findall(expression))

        assert asked
        assert asked <= NAMES, title
    for variable in yaml.safe_load(board.read_text())["variables"]:
        assert set(METRIC.findall(variable["values"])) <= NAMES


def test_the_dashboards_show_every_metric_of_ours() -> None:
    shown = {
        name for board in BOARDS for _, each in queries(board) for name in METRIC.findall(each)
    }

    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in NAMES}
    seen = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    assert {name for name in families if name.startswith("pannier_")} - seen == {
        "pannier_config_age_seconds"  # of use beside pannier_config_info, to whoever asks
    }


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(alert["annotations"]) == {"summary", "description"}
        assert alert["annotations"]["description"].endswith(".")


# What the chart makes of it


@pytest.mark.cluster
def test_the_rules_of_the_chart_are_those_and_the_injectors_only_with_an_injector() -> None:
    of_all = one(rendered(case("everything")), "PrometheusRule")["spec"]["groups"]
    of_policy = one(rendered(case("policy")), "PrometheusRule")["spec"]["groups"]

    assert of_all == groups()
    assert of_policy == [group for group in groups() if group["name"] != "pannier-injector"]


@pytest.mark.cluster
def test_a_dashboard_is_found_by_its_label_and_asks_what_its_panels_say() -> None:
    found = of_kind(rendered(case("everything")), "ConfigMap")

    boards = [each for each in found if "-dashboard-" in each["metadata"]["name"]]
    for manifest, board in zip(boards, BOARDS, strict=True):
        (text,) = manifest["data"].values()
        dashboard = json.loads(text)
        asked = [
            (panel["title"], target["expr"])
            for panel in dashboard["panels"]
            for target in panel["targets"]
        ]
        assert asked == queries(board)
        assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert manifest["metadata"]["annotations"] == {"grafana_folder": "Pannier"}
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
        assert len(set(places)) == len(places)
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)


@pytest.mark.cluster
def test_monitors_look_for_ports_that_pods_have() -> None:
    objects = rendered(case("everything"))
    (gateways,) = one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    (others,) = one(objects, "ServiceMonitor")["spec"]["endpoints"]

    given = sidecar.Sidecar(image="i", version="1", defaults=sidecar.DEFAULTS)

    assert {"name": gateways["port"]}.items() <= ports_of(given)[0].items()
    wanted = one(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    scraped = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in of_kind(objects, "Service")
        if wanted <= each["metadata"]["labels"].items()
        and others["port"] in {port["name"] for port in each["spec"]["ports"]}
    }
    assert scraped == {"operator", "injector", "hub"}


def ports_of(given: sidecar.Sidecar) -> list[Json]:
    """Of the container that pods get."""
    container: Any = filled_in(sidecar.container(given), given.defaults)
    return list(container["ports"])


# What Prometheus makes of it


@pytest.mark.cluster
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    cases = [alert_case("all is well", {}, [])]
    cases += [alert_case(alert, change, [alert]) for alert, change in BROKEN.items()]
    suite = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(suite))

    promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml"))
    promtool("test", "rules", str(tmp_path / "tests.yaml"))

    assert set(BROKEN) == {each["alert"] for each in alerts()}


def alert_case(name: str, change: dict[str, str], firing: list[str]) -> Json:
    series = [{"series": series, "values": values} for series, values in (HEALTHY | change).items()]
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in firing]
    asked = 'count by (alertname) (ALERTS{alertstate="firing"})'
    expected = {"expr": asked, "eval_time": "58m", "exp_samples": samples}
    return {
        "name": name,
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [expected],
    }


def promtool(*arguments: str) -> None:
    command = [str(binary("promtool")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus that scrapes one process of each kind, ten times a second; its address."""
    with exposed() as port, scraping(port, tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@contextmanager
def scraping(port: int, folder: Path) -> Iterator[str]:
    labels = {"namespace": "team-a", "pod": "p"}
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": labels}]
    jobs = [
        {
            "job_name": name,
            "metrics_path": f"/{name}",
            "honor_labels": name != "gateway",
            "static_configs": targets,
            "relabel_configs": [{"target_label": "instance", "replacement": name}],
        }
        for name in PROCESSES
    ]
    config = {"global": {"scrape_interval": "200ms"}, "scrape_configs": jobs}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (listen,) = free_ports(1)
    flags = [
        f"--config.file={folder / 'config.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{listen}",
        "--log.level=warn",
    ]
    with running("prometheus", flags, folder) as part:
        eventually(lambda: is_ready(listen), 30)
        part.check()
        yield f"http://127.0.0.1:{listen}"


def is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS, ids=named)
def test_every_panel_shows_something(prometheus: str, board: Path) -> None:
    for title, expression in queries(board):
        eventually(partial(numbers, prometheus, filled(expression)), 20)

        assert numbers(prometheus, filled(expression)), title


def filled(expression: str) -> str:
    """What Grafana would ask, everything selected."""
    text = re.sub(r"\$(namespace|usecase|bucket)", ".*", expression)
    return text.replace("$__rate_interval", "5s").replace("[1h]", "[5s]")


def numbers(url: str, expression: str) -> list[float]:
    """The values that are numbers."""
    with urlopen(f"{url}/api/v1/query?{urlencode({'query': expression})}", timeout=5) as answer:
        found = json.load(answer)["data"]["result"]
    values = (float(each["value"][1]) for each in found)
    return [value for value in values if value == value]  # noqa: PLR0124  # NaN is not


# The page


def test_the_metrics_of_operator_and_injector_are_documented_with_their_labels() -> None:
    documented = {row[0]: row[1] for row in rows(r"pannier_(operator|injector)_\w+")}

    families = [each for name in ("operator", "injector") for each in PROCESSES[name]().collect()]
    exposed = {
        f"{each.name}_total" if each.type == "counter" else each.name: labels_of(each)
        for each in families
        if each.name.startswith("pannier_")
    }
    assert {
        name: set(filter(None, text.split(", "))) for name, text in documented.items()
    } == exposed


def labels_of(metric: Metric) -> set[str]:
    return {label for sample in metric.samples for label in sample.labels} - {"le"}


def test_every_alert_is_documented_with_how_bad_it_is() -> None:
    documented = {row[0]: row[1] for row in rows(r"Pannier[A-Z]\w+")}

    assert documented == {each["alert"]: each["labels"]["severity"] for each in alerts()}


def rows(first: str) -> list[list[str]]:
    page = (ROOT / "docs" / "metrics.md").read_text()
    lines = (line for line in page.splitlines() if line.startswith("|"))
    cells = ([cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines)
    return [row for row in cells if re.fullmatch(first, row[0])]
