"""A real Prometheus that finds its targets in the cluster, and what it answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import yaml

from support.cluster import ControlPlane, free_ports, running

PORT = "pannier-metrics"  # what docs/metrics.md says to scrape


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where it listens."""

    url: str

    def values(self, query: str) -> list[float]:
        """One number for each series that `query` finds now; none before it is up."""
        try:
            with urlopen(f"{self.url}/api/v1/query?query={quote(query)}", timeout=5) as answer:
                found = json.load(answer)["data"]["result"]
        except URLError:
            return []
        return [float(series["value"][1]) for series in found]


@contextmanager
def running_prometheus(plane: ControlPlane, folder: Path) -> Iterator[Prometheus]:
    """One that scrapes the gateways of all pods every second, with the rights to view, no more."""
    folder.mkdir()
    token = folder / "token"
    token.write_text(plane.service_account("default", "prometheus"))
    viewer = ("--clusterrole=view", "--serviceaccount=default:prometheus")
    plane.kubectl("create", "clusterrolebinding", "prometheus", *viewer)
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(plane, token)))
    (port,) = free_ports(1)
    flags = [
        f"--config.file={folder / 'config.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running("prometheus", flags, folder):
        yield Prometheus(f"http://127.0.0.1:{port}")


def _config(plane: ControlPlane, token: Path) -> object:
    discovery = {
        "role": "pod",
        "api_server": plane.url,
        "tls_config": {"ca_file": str(plane.ca_file)},
        "authorization": {"credentials_file": str(token)},
    }
    only = {"action": "keep", "regex": PORT}
    named = "__meta_kubernetes_pod_container_port_name"
    labels = {each: f"__meta_kubernetes_{of}" for each, of in _LABELS.items()}
    job = {
        "job_name": "gateways",
        "kubernetes_sd_configs": [discovery],
        "relabel_configs": [
            only | {"source_labels": [named]},
            *({"source_labels": [of], "target_label": each} for each, of in labels.items()),
        ],
    }
    often = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    return {"global": often, "scrape_configs": [job]}


_LABELS = {"namespace": "namespace", "pod": "pod_name"}
