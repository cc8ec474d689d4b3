"""Several processes on the same ports: they come up, die, and end, together and one by one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.gateway import BEHIND, QUICKSTART, Gateway, running_gateway, started
from support.wire import Wire, exchange, head

PATH = "/v1/objects/media/_/k"

pytestmark = pytest.mark.slow  # four processes for each test


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """What the workers keep their objects in."""
    with running_gateway(tmp_path_factory.mktemp("behind") / "data") as gateway:
        yield gateway


@pytest.fixture
def arguments(behind: Gateway, tmp_path: Path) -> list[str]:
    manifests = tmp_path / "hub.yaml"
    manifests.write_text(BEHIND.format(url=behind.url))
    return ["--manifests", str(manifests), "--data-dir", str(tmp_path / "data"), "--workers", "3"]


@pytest.fixture
def hub(arguments: list[str], tmp_path: Path) -> Iterator[Gateway]:
    with started(arguments, tmp_path / "log") as gateway:
        yield gateway


def page(gateway: Gateway, path: str) -> tuple[int, str]:
    answer = exchange(gateway.admin_url, "GET", path)
    return answer.status, answer.body.decode()


def pids(gateway: Gateway) -> list[int]:
    listed = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        pass


def test_all_workers_answer_at_one_port_and_each_counts_for_itself(hub: Gateway) -> None:
    assert exchange(hub.url, "PUT", PATH, body=b"bytes").status == 200
    for _ in range(60):  # connections, that the kernel spreads
        assert exchange(hub.url, "GET", PATH).body == b"bytes"

    requests = hub.by_worker("pannier_requests_total")
    assert set(requests) == {"1", "2", "3"}
    assert sum(requests.values()) == 61
    assert sum(count > 0 for count in requests.values()) > 1


def test_the_admin_pages_of_all_are_one(hub: Gateway) -> None:
    assert page(hub, "/livez") == (200, "worker 1: ok\nworker 2: ok\nworker 3: ok\n")
    assert page(hub, "/readyz")[0] == page(hub, "/startupz")[0] == 200
    shown = json.loads(page(hub, "/configz")[1])
    assert (list(shown["stores"]), shown["differing"]) == (["default/main"], {})
    assert "/metrics" in page(hub, "/")[1]
    assert hub.by_worker("pannier_worker_up") == {"1": 1, "2": 1, "3": 1}
    assert page(hub, "/v1/objects/media/_/k")[0] == 421


def test_a_worker_that_is_killed_is_started_anew_and_the_others_serve_on(hub: Gateway) -> None:
    killed = pids(hub)[1]
    subprocess.run(["kill", "-9", str(killed)], check=True)

    until(lambda: hub.by_worker("pannier_worker_up").get("2") == 0)
    assert page(hub, "/readyz")[0] == 200
    assert exchange(hub.url, "GET", "/health").status == 200
    until(lambda: hub.by_worker("pannier_worker_up") == {"1": 1, "2": 1, "3": 1})
    assert hub.by_worker("pannier_worker_starts_total") == {"1": 1, "2": 2, "3": 1}
    assert killed not in pids(hub)
    assert '"worker died"' in hub.log.read_text()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_all_end_together_and_in_order(hub: Gateway, ending: signal.Signals) -> None:
    workers = pids(hub)

    hub.process.send_signal(ending)

    assert hub.process.wait(10) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_hangup_has_all_of_them_read_the_configuration_again(hub: Gateway) -> None:
    workers = pids(hub)

    hub.process.send_signal(signal.SIGHUP)

    until(lambda: hub.log.read_text().count('"configuration read again"') == 3)
    assert page(hub, "/livez")[0] == 200
    assert pids(hub) == workers


def test_a_second_ctrl_c_ends_all_of_them_at_once(hub: Gateway) -> None:
    workers = pids(hub)
    with Wire(hub.url) as upload:
        upload.send(head("PUT", PATH, {"content-length": "5"}) + b"byte")
        until(lambda: hub.in_flight == 1)

        hub.process.send_signal(signal.SIGINT)
        until(lambda: page(hub, "/readyz") == (503, "shutting down\n"))
        hub.process.send_signal(signal.SIGINT)

        assert hub.process.wait(5) == 128 + signal.SIGINT
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_what_a_terminal_tells_its_group_the_supervisor_hears_alone(hub: Gateway) -> None:
    # told twice, a worker could take one Ctrl-C for the second one
    assert os.getpgid(hub.process.pid) not in map(os.getpgid, pids(hub))


def test_workers_do_not_outlive_a_supervisor_that_is_killed(hub: Gateway) -> None:
    workers = pids(hub)

    hub.kill()

    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_a_stuck_worker_makes_all_of_them_dead_to_the_kubelet(hub: Gateway) -> None:
    stuck = pids(hub)[2]
    subprocess.run(["kill", "-STOP", str(stuck)], check=True)
    try:
        status, told = page(hub, "/livez")
        _, shown = page(hub, "/configz")
    finally:
        subprocess.run(["kill", "-CONT", str(stuck)], check=True)

    assert (status, told.count("ok")) == (503, 2)
    assert "no answer" in json.loads(shown)["differing"]["3"]["problem"]
    assert page(hub, "/livez")[0] == 200


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pannier_gateway", "--admin-listen", "127.0.0.1:0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_mistake_is_told_once_and_ends_the_process(tmp_path: Path) -> None:
    ended = run("--manifests", str(tmp_path / "none.yaml"), "--workers", "3", "--listen=[::1]:0")

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "none.yaml: cannot be read" in ended.stderr


def test_a_port_that_others_share_is_taken_all_the_same(arguments: list[str], hub: Gateway) -> None:
    place = urlsplit(hub.url).netloc
    ended = run(*arguments, "--listen", place)

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"--listen {place}: Address already in use" in ended.stderr


def test_a_filesystem_bucket_is_refused_to_several(tmp_path: Path) -> None:
    where = ["--manifests", str(QUICKSTART), "--data-dir", str(tmp_path)]
    ended = run(*where, "--workers=2", "--listen=127.0.0.1:0")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "a Filesystem Bucket takes one process: leave out --workers" in ended.stderr


@pytest.mark.parametrize("number", ["0", "-1", "257", "two"])
def test_a_number_of_workers_is_one(number: str) -> None:
    ended = run("--manifests=x", f"--workers={number}")

    assert ended.returncode == 2
    assert "is not a number from 1 to 256" in ended.stderr


def test_a_unix_socket_has_one_process(tmp_path: Path) -> None:
    ended = run("--manifests=x", "--workers=2", "--socket", str(tmp_path / "s"))

    assert ended.returncode == 2
    assert "--socket can't be shared: leave out --workers" in ended.stderr
