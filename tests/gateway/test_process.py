"""The gateway as a process: how it starts or says why not, follows its files, and ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from pannier_gateway.config import model, render, resources
from pannier_gateway.config.documents import read
from support.gateway import QUICKSTART, Gateway, running_gateway, started
from support.manifests import bucket, usecase
from support.wire import Answer, CutOff, Wire, exchange, head
from support.zstd_bodies import noise

pytestmark = pytest.mark.slow

LARGE = noise(1 << 20) * 16  # more than sockets hold
FREE = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]


def events(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.log.read_text().splitlines()]


def write(path: Path, *manifests: object) -> Path:
    """Put manifests where the gateway may be looking, in one move."""
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump_all(manifests))
    return draft.replace(path)


# A start that fails


def complaint(
    arguments: Sequence[str], environment: dict[str, str] | None = None, folder: Path | None = None
) -> str:
    """The last thing that a gateway says when it can't start, after nothing but warnings."""
    failed = subprocess.run(
        [sys.executable, "-m", "pannier_gateway", *arguments],
        env=os.environ | (environment or {}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (failed.returncode, failed.stdout) == (2, ""), failed.stderr
    *logged, said = failed.stderr.splitlines()
    assert {json.loads(line)["level"] for line in logged} <= {"warning", "error"}, failed.stderr
    assert said.startswith("pannier-gateway: ")
    return said.removeprefix("pannier-gateway: ")


def test_a_setting_that_makes_no_sense_ends_it() -> None:
    assert "did you mean --listen?" in complaint(["--lisen", "127.0.0.1:0"])
    assert "PANNIER_DRAIN" in complaint([], {"PANNIER_DRAIN": "long"})


@pytest.mark.parametrize("option", ["--listen", "--admin-listen"])
def test_a_port_in_use_ends_it(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = complaint(
            ["--manifests", str(QUICKSTART), *FREE, option, f"127.0.0.1:{port}"], folder=tmp_path
        )

    assert said.startswith(f"{option} 127.0.0.1:{port}: Address already in use: choose another")


def test_an_address_that_is_not_ours_ends_it(tmp_path: Path) -> None:
    arguments = ["--manifests", str(QUICKSTART), *FREE, "--listen", "no-such-host.invalid:0"]

    assert "--listen no-such-host.invalid:0" in complaint(arguments, folder=tmp_path)


def test_manifests_that_cannot_be_read_end_it(tmp_path: Path) -> None:
    assert "absent.yaml" in complaint(["--manifests", "absent.yaml", *FREE], folder=tmp_path)

    broken = write(tmp_path / "broken.yaml", usecase("spelled", suspnd="All"))
    said = complaint(["--manifests", str(broken), *FREE], folder=tmp_path)
    assert "broken.yaml" in said
    assert "suspnd" in said


def test_a_directory_in_the_place_of_a_configuration_ends_it(tmp_path: Path) -> None:
    said = complaint(["--config", str(tmp_path), *FREE], folder=tmp_path)

    assert said == f"{tmp_path}: --config takes a file (--manifests takes manifests)"


@pytest.mark.parametrize("place", ["file/below", "/proc/nowhere"])
def test_a_data_directory_that_cannot_be_written_ends_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a directory")

    said = complaint(["--manifests", str(QUICKSTART), *FREE, "--data-dir", place], folder=tmp_path)

    assert place in said


def test_a_socket_that_somebody_listens_on_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        arguments = ["--manifests", str(QUICKSTART), *FREE, "--socket", str(path)]
        said = complaint(arguments, folder=tmp_path)

    assert said == f"--socket {path}: another process listens on it"
    assert path.is_socket()


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("absent/x.sock", "No such file or directory"),
        ("file", "something else is there: choose another path"),
        (".", "something else is there: choose another path"),
        ("x" * 108, "a socket's path has 107 bytes at most"),
    ],
)
def test_a_socket_that_cannot_be_made_ends_it(tmp_path: Path, place: str, why: str) -> None:
    (tmp_path / "file").write_text("not a socket")
    arguments = ["--manifests", str(QUICKSTART), *FREE, "--socket", place]

    assert complaint(arguments, folder=tmp_path) == f"--socket {place}: {why}"
    assert (tmp_path / "file").read_text() == "not a socket"


def test_a_data_directory_in_use_ends_it(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data") as first:
        arguments = ["--manifests", str(QUICKSTART), *FREE, "--data-dir", str(tmp_path / "data")]
        said = complaint(arguments)

        assert f"in use by another process (pid {first.process.pid})" in said
        assert exchange(first.url, "GET", "/health").status == 200


# A start


def test_it_says_on_one_line_where_it_listens(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data") as gateway:
        assert exchange(gateway.url, "GET", "/health").status == 200
        assert exchange(gateway.admin_url, "GET", "/startupz").status == 200
        assert gateway.stop() == 0
        assert gateway.process.stdout is not None
        assert gateway.process.stdout.read() == ""


def test_the_log_tells_of_its_start_and_of_its_end(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data") as gateway:
        assert gateway.stop() == 0

    serving, draining, stopped = events(gateway)
    assert (serving["event"], serving["generation"]) == ("serving", 1)
    assert serving["usecases"] == ["attachments", "media", "sessions"]
    assert (draining["event"], draining["in_flight"], draining["seconds"]) == ("draining", 0, 25)
    assert stopped["event"] == "stopped"


def test_on_a_terminal_the_log_is_for_people(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "pannier_gateway", "--manifests", str(QUICKSTART), *FREE]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
    os.close(theirs)
    with os.fdopen(ours) as terminal:
        said = [terminal.readline() for _ in range(3)]

    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO serving generation=1 digest='\w+' usecases=.*\n", said[0]
    )
    assert said[1].endswith(" INFO draining in_flight=0 seconds=25.0\n")
    assert said[2].endswith(" INFO stopped\n")


def test_it_explains_itself() -> None:
    command = [sys.executable, "-m", "pannier_gateway", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)

    assert shown.stdout.startswith("usage: pannier-gateway")
    assert shown.stderr == ""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_it_keeps_is_for_its_user_alone(tmp_path: Path) -> None:
    (tmp_path / "data" / "default").mkdir(parents=True)
    (tmp_path / "data" / "default").chmod(0o750)
    with running_gateway(tmp_path / "data") as gateway:
        exchange(gateway.url, "PUT", "/v1/objects/media/_/k", body=LARGE[: 1 << 20])

        root = tmp_path / "data" / "default" / "main"
        kept = [root, *root.rglob("*")]
        assert {mode(path) for path in kept if path.is_dir()} == {0o700}
        assert {mode(path) for path in kept if path.is_file()} == {0o600}
        assert mode(root.parent) == 0o750


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_an_ipv6_address_is_said_as_an_url_has_it(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data", extra_args=["--listen", "[::1]:0"]) as gateway:
        assert re.fullmatch(r"http://\[::1\]:\d+", gateway.url)
        assert exchange(gateway.url, "GET", "/health").status == 200


def test_it_can_be_told_everything_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANNIER_MANIFESTS", str(QUICKSTART))
    monkeypatch.setenv("PANNIER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PANNIER_SOCKET", str(tmp_path / "x.sock"))
    monkeypatch.setenv("PANNIER_LOG_LEVEL", "debug")

    with started([], tmp_path / "log") as gateway:
        path = "/v1/objects/attachments/_/k"
        token = {"x-os-auth": "Bearer sesame", "authorization": "Bearer sesame"}
        assert exchange(gateway.url, "PUT", path, token, b"contents").status == 200
        assert gateway.socket == tmp_path / "x.sock"
        assert (tmp_path / "data" / "default" / "main").is_dir()

    (line,) = (event for event in events(gateway) if event["event"] == "request ended")
    assert line["method"] == "PUT"
    assert line["target"] == path
    assert line["status"] == 200
    assert (line["bytes_in"], line["level"]) == (8, "debug")
    assert "detail" not in line
    assert "sesame" not in gateway.log.read_text()
    assert "contents" not in gateway.log.read_text()


def test_success_is_not_logged_unless_asked_for(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data") as gateway:
        exchange(gateway.url, "PUT", "/v1/objects/attachments/_/k", body=b"x")
        exchange(gateway.url, "GET", "/v1/objects/attachments/_/k")
        exchange(gateway.url, "PUT", "/v1/objects/nobodys/_/k", body=b"x")

    ended = [each for each in events(gateway) if each["event"] == "request ended"]
    assert [each["status"] for each in ended] == [404]


def test_a_refused_request_is_logged_with_what_its_client_was_told(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data") as gateway:
        refused = exchange(gateway.url, "PUT", "/v1/objects/nobodys/_/k", body=b"x")

    (line,) = (event for event in events(gateway) if event["event"] == "request ended")
    assert "'nobodys' is not declared" in line["detail"]
    assert line["detail"] in refused.detail


def test_it_serves_a_configuration_as_the_operator_writes_it(tmp_path: Path) -> None:
    manifests = resources.parse_files(read(QUICKSTART))
    config, _ = render.render(manifests.buckets, manifests.usecases, 7)
    path = tmp_path / "config.json"
    path.write_bytes(model.dump(config))

    with started(
        ["--config", str(path), "--data-dir", str(tmp_path / "data")], tmp_path / "log"
    ) as gateway:
        put = exchange(gateway.url, "PUT", "/v1/objects/media/_/k", body=b"x")
        assert put.status == 200
        assert 'generation="7"' in gateway.metrics


@contextmanager
def waiting(tmp_path: Path, config: Path) -> Iterator[tuple[Gateway, str]]:
    """A gateway that has no configuration yet, and what it waits for, by the line it says."""
    command = [sys.executable, "-m", "pannier_gateway", "--config", str(config), *FREE]
    environment = os.environ | {"PANNIER_DATA_DIR": str(tmp_path / "data")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            line = next(each for each in process.stderr if not each.startswith("{"))
            said = re.fullmatch(r"pannier-gateway not ready: (.*); data (\S+) admin (\S+)\n", line)
            assert said, line
            yield Gateway(said[2], None, said[3], process, config), said[1]
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (None, "waiting for {0}, written by the operator"),
        (b'{"major": 99, "minor": 0}', "{0}: configuration version 99.0 is not understood"),
        (b'{"a": ' * 100_000, "{0}: configuration is not JSON"),
    ],
    ids=["absent", "too new", "broken"],
)
def test_without_a_configuration_it_says_so_and_goes_ready_when_one_comes(
    tmp_path: Path, broken: bytes | None, why: str
) -> None:
    manifests = resources.parse_files(read(QUICKSTART))
    config, _ = render.render(manifests.buckets, manifests.usecases, 7)
    path, why = tmp_path / "config.json", why.format(tmp_path / "config.json")
    if broken is not None:
        path.write_bytes(broken)

    with waiting(tmp_path, path) as (gateway, said):
        assert said.startswith(why)
        assert exchange(gateway.admin_url, "GET", "/livez").status == 200
        for page in ("/readyz", "/startupz"):
            answer = exchange(gateway.admin_url, "GET", page)
            assert (answer.status, answer.body.decode().startswith(why)) == (503, True)
        page = json.loads(exchange(gateway.admin_url, "GET", "/configz").body)
        assert page["problem"].startswith(why)
        refused = put(gateway, "media")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert f"nothing is served yet: {why}" in refused.detail
        assert exchange(gateway.url, "GET", "/ready").status == 503
        assert exchange(gateway.url, "GET", "/health").status == 200

        (tmp_path / "draft").write_bytes(model.dump(config))
        (tmp_path / "draft").replace(path)
        assert gateway.process.stdout is not None
        assert gateway.process.stdout.readline().startswith("pannier-gateway ready: data http://")
        assert exchange(gateway.admin_url, "GET", "/readyz").status == 200
        assert exchange(gateway.url, "GET", "/ready").status == 200
        assert put(gateway, "media").status == 200
        assert gateway.stop() == 0


def test_a_gateway_that_waits_for_its_configuration_ends_when_told(tmp_path: Path) -> None:
    with waiting(tmp_path, tmp_path / "absent" / "config.json") as (gateway, _):
        assert gateway.stop() == 0


def test_a_unix_socket_serves_like_a_port(tmp_path: Path) -> None:
    path = tmp_path / "pannier.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))  # and a process died without clearing it away

    with (
        running_gateway(tmp_path / "data", extra_args=["--socket", str(path)]) as gateway,
        socket.socket(socket.AF_UNIX) as client,
    ):
        assert path.stat().st_mode & 0o777 == 0o666
        client.connect(str(path))
        client.sendall(head("GET", "/health", {"connection": "close"}))
        with client.makefile("rb") as answer:
            assert answer.read().endswith(b"\r\n\r\nOK")
        assert gateway.stop() == 0
        assert not path.exists()


# Following its files


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return write(tmp_path / "served" / "all.yaml", bucket(), usecase("first"))


@pytest.fixture
def following(tmp_path: Path, manifests: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path / "data", manifests=manifests) as gateway:
        while not watching(gateway):
            pass
        yield gateway


def watching(gateway: Gateway) -> bool:
    """Whether the kernel tells it of changes already: one before that waits for its slow poll."""
    for descriptor in Path(f"/proc/{gateway.process.pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if "inotify wd:" in descriptor.read_text():
                return True
    return False


def applied(gateway: Gateway, result: str = "applied", count: int = 2) -> None:
    """Wait until so many configurations were taken up, or refused."""
    while gateway.metric("pannier_config_reloads_total", result=result) != count:
        pass


def test_a_change_that_the_kernel_tells_nothing_of_is_read_when_told(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "watched").mkdir()
    file = write(tmp_path / "elsewhere" / "all.yaml", bucket(), usecase("first"))
    (tmp_path / "watched" / "all.yaml").symlink_to(file)

    with running_gateway(tmp_path / "data", manifests=tmp_path / "watched") as gateway:
        write(file, bucket(), usecase("second"))
        gateway.process.send_signal(signal.SIGHUP)
        applied(gateway)

        assert put(gateway, "second").status == 200
    assert "configuration read again" in [each["event"] for each in events(gateway)]


def put(gateway: Gateway, name: str) -> Answer:
    return exchange(gateway.url, "PUT", f"/v1/objects/{name}/_/k", body=b"x")


def test_a_change_takes_effect_while_it_serves(following: Gateway, manifests: Path) -> None:
    assert put(following, "first").status == 200
    assert put(following, "second").status == 404

    write(manifests, bucket(), usecase("first", suspend="Writes"), usecase("second"))
    applied(following)

    assert put(following, "first").status == 503
    assert exchange(following.url, "GET", "/v1/objects/first/_/k").body == b"x"
    assert put(following, "second").status == 200
    assert 'generation="2"' in following.metrics


def test_a_usecase_that_goes_takes_its_name_along_and_leaves_its_objects(
    following: Gateway, manifests: Path
) -> None:
    put(following, "first")

    write(manifests, bucket(), usecase("second"))
    applied(following)
    assert exchange(following.url, "GET", "/v1/objects/first/_/k").status == 404

    write(manifests, bucket(), usecase("first"), usecase("second"))
    applied(following, count=3)
    assert exchange(following.url, "GET", "/v1/objects/first/_/k").body == b"x"


def test_a_limit_that_goes_lets_go_of_what_it_held_up(following: Gateway, manifests: Path) -> None:
    path, body = "/v1/objects/first/_/k", bytes(100_000)
    write(manifests, bucket(), usecase("first", limits={"bytesPerSecond": 1024}))
    applied(following)
    with Wire(following.url) as wire:
        wire.send(head("PUT", path, body=body) + body)
        while following.in_flight != 1:
            pass
        write(manifests, bucket(), usecase("first"))
        applied(following, count=3)

        assert wire.answer().status == 200


def test_a_bad_file_changes_nothing_and_is_told(following: Gateway, manifests: Path) -> None:
    write(manifests, bucket(), usecase("first", suspnd="All"))
    applied(following, "refused", 1)

    assert put(following, "first").status == 200
    assert exchange(following.admin_url, "GET", "/readyz").status == 200
    (told,) = (each for each in events(following) if each["level"] == "error")
    assert "suspnd" in told["error"]
    problem = json.loads(exchange(following.admin_url, "GET", "/configz").body)["problem"]
    assert "suspnd" in problem


def test_a_request_ends_under_the_configuration_that_it_began_with(
    following: Gateway, manifests: Path
) -> None:
    with Wire(following.url) as wire:
        wire.send(head("PUT", "/v1/objects/first/_/k", {"content-length": "5"}) + b"by")
        while following.in_flight != 1:
            pass
        write(manifests, bucket(), usecase("first", limits={"maxObjectBytes": 1}))
        applied(following)
        wire.send(b"tes")

        assert wire.answer().status == 200
        assert wire.ask("PUT", "/v1/objects/first/_/k", body=b"bytes").status == 413
        assert wire.ask("GET", "/v1/objects/first/_/k").body == b"bytes"


def test_a_new_bucket_that_cannot_be_opened_costs_only_its_own_usecases(
    following: Gateway, manifests: Path, tmp_path: Path
) -> None:
    (tmp_path / "data" / "default" / "barred").write_text("where a directory should be")

    write(
        manifests,
        *(bucket(name) for name in ("barred", "fine", "main")),
        usecase("first"),
        usecase("second", bucketRef={"name": "barred"}),
        usecase("third", bucketRef={"name": "fine"}),
    )
    applied(following)

    while put(following, "third").status == 404:
        pass
    assert [put(following, name).status for name in ("first", "second", "third")] == [200, 503, 200]
    assert "can't be opened" in put(following, "second").detail
    stores = json.loads(exchange(following.admin_url, "GET", "/configz").body)["stores"]
    assert "can't be used" in stores["default/barred"]["by"]


def test_a_directory_is_followed_as_a_cluster_mounts_it(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    for version in ("..1", "..2"):
        (mounted / version).mkdir(parents=True)
    write(mounted / "..1" / "all.yaml", bucket(), usecase("first"))
    write(mounted / "..2" / "all.yaml", bucket(), usecase("second"))
    (mounted / "..data").symlink_to("..1")
    (mounted / "all.yaml").symlink_to("..data/all.yaml")

    with running_gateway(tmp_path / "data", manifests=mounted) as gateway:
        while not watching(gateway):
            pass
        (mounted / "..new").symlink_to("..2")
        (mounted / "..new").rename(mounted / "..data")
        applied(gateway)
        assert [put(gateway, name).status for name in ("first", "second")] == [404, 200]


# The end


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path / "data", extra_args=["--drain", "20"]) as gateway:
        yield gateway
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_ends_at_once_when_told(ending: Gateway, number: int) -> None:
    with Wire(ending.url) as idle:
        assert idle.ask("GET", "/health").status == 200

        ending.process.send_signal(number)

        assert idle.rest() == b""
        assert ending.process.wait(5) == 0


def no_longer_listening(gateway: Gateway) -> bool:
    try:
        Wire(gateway.url).close()
    except ConnectionError:
        return True
    return False


def test_what_is_in_flight_is_finished_and_nothing_new_is_taken(ending: Gateway) -> None:
    path = "/v1/objects/media/_/"
    exchange(ending.url, "PUT", path + "large", body=LARGE)
    with Wire(ending.url) as idle, Wire(ending.url) as upload, Wire(ending.url) as download:
        idle.ask("GET", "/health")
        upload.send(head("PUT", path + "k", {"content-length": str(len(LARGE))}) + LARGE[:1000])
        download.send(head("GET", path + "large"))
        while ending.in_flight != 2:
            pass

        ending.process.terminate()

        while not no_longer_listening(ending):
            pass
        assert idle.rest() == b""
        assert exchange(ending.admin_url, "GET", "/readyz").status == 503
        assert exchange(ending.admin_url, "GET", "/livez").status == 200
        assert download.answer().body == LARGE
        ready = download.ask("GET", "/ready")
        assert (ready.status, ready.body) == (503, b"Shutting down")
        assert ready.headers["connection"] == "close"
        upload.send(LARGE[1000:])
        stored = upload.answer()
        assert (stored.status, stored.headers["connection"]) == (200, "close")
        assert ending.process.wait(5) == 0


def test_what_it_answered_before_the_end_is_there_after_the_next_start(tmp_path: Path) -> None:
    path = "/v1/objects/media/_/"
    for key in ("1", "2", "3"):
        with running_gateway(tmp_path / "data") as gateway:
            exchange(gateway.url, "PUT", path + key, body=LARGE[: 1 << 20])
            gateway.kill() if key == "1" else gateway.stop()

    with running_gateway(tmp_path / "data") as gateway:
        for key in ("1", "2", "3"):
            assert exchange(gateway.url, "GET", path + key).body == LARGE[: 1 << 20]


def test_a_client_that_does_not_get_on_is_not_waited_for(tmp_path: Path) -> None:
    path = "/v1/objects/media/_/k"
    with (
        running_gateway(tmp_path / "data", extra_args=["--drain", "0.2"]) as gateway,
        Wire(gateway.url) as upload,
    ):
        upload.send(head("PUT", path, {"content-length": "5"}) + b"by")
        while gateway.in_flight != 1:
            pass

        assert gateway.stop() == 0
        with pytest.raises((CutOff, ConnectionError)):
            upload.answer()
    assert "drain ended early" in [each["event"] for each in events(gateway)]
    with running_gateway(tmp_path / "data") as gateway:
        assert exchange(gateway.url, "GET", path).status == 404


@contextmanager
def uploading(gateway: Gateway) -> Iterator[Wire]:
    """A request in flight, which waits for a byte more."""
    with Wire(gateway.url) as upload:
        upload.send(head("PUT", "/v1/objects/media/_/k", {"content-length": "5"}) + b"byte")
        while gateway.in_flight != 1:
            pass
        yield upload


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_who_will_not_wait_for_what_is_in_flight_interrupts_it(
    ending: Gateway, first: signal.Signals
) -> None:
    with uploading(ending) as upload:
        ending.process.send_signal(first)
        while not no_longer_listening(ending):
            pass
        ending.process.send_signal(signal.SIGINT)

        assert ending.process.wait(5) == 128 + signal.SIGINT
        with pytest.raises((CutOff, ConnectionError)):
            upload.answer()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_being_told_again_to_end_cuts_nothing_off(ending: Gateway, first: signal.Signals) -> None:
    with uploading(ending) as upload:
        for number in (first, signal.SIGTERM, signal.SIGHUP):
            ending.process.send_signal(number)
            while not no_longer_listening(ending):
                pass
        upload.send(b"s")

        assert upload.answer().status == 200
        assert ending.process.wait(5) == 0
    told = {each["event"]: each for each in events(ending)}
    assert told["draining"]["in_flight"] == 1
    assert [*told][-1] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_that_is_told_to_end_before_it_has_begun_ends_well(number: int) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "pannier_gateway"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not process.stderr.readline().endswith(" asyncio\n"):
            pass
        process.send_signal(number)

        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_a_successor_takes_the_socket_over_and_keeps_it(tmp_path: Path) -> None:
    at_path = ["--socket", str(tmp_path / "x.sock")]
    with running_gateway(tmp_path / "first", extra_args=at_path) as first, Wire(first.url) as slow:
        slow.send(head("PUT", "/v1/objects/media/_/k", {"content-length": "5"}))
        while first.in_flight != 1:
            pass
        first.process.terminate()
        while not no_longer_listening(first):
            pass
        assert not (tmp_path / "x.sock").exists()

        with running_gateway(tmp_path / "second", extra_args=at_path):
            slow.send(b"bytes")
            assert first.process.wait(5) == 0
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(at_path[1])
    assert not (tmp_path / "x.sock").exists()


def test_a_socket_that_somebody_else_put_in_its_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with (
        running_gateway(tmp_path / "data", extra_args=["--socket", str(path)]) as gateway,
        socket.socket(socket.AF_UNIX) as other,
    ):
        path.unlink()
        other.bind(str(path))

        assert gateway.stop() == 0
        assert path.is_socket()


def test_who_keeps_the_admin_listener_busy_is_not_waited_for(ending: Gateway) -> None:
    with Wire(ending.admin_url) as busy:
        busy.send(head("GET", "/livez", {"content-length": "5"}) + b"by")
        assert busy.answer().status == 200

        ending.process.terminate()

        assert ending.process.wait(5) == 0


def test_a_port_is_free_again_at_once(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data") as gateway, Wire(gateway.url) as open_still:
        open_still.ask("GET", "/health")
        port = gateway.url.rpartition(":")[2]
        gateway.stop()

    arguments = ["--listen", f"127.0.0.1:{port}"]
    with running_gateway(tmp_path / "data", extra_args=arguments) as gateway:
        assert gateway.url == f"http://127.0.0.1:{port}"
