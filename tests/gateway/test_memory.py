"""Memory: what streams through the gateway never gathers in it, whatever the size or the pace."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from itertools import repeat
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET
from urllib.parse import urlsplit

import pytest

from support.gateway import Gateway, running_gateway
from support.wire import Wire, exchange, head
from support.zstd_bodies import bomb, noise, text

pytestmark = pytest.mark.slow

MIB = 1 << 20
MOST = 128 * MIB  # resident at the peak, libraries and all
SERVED = Path(__file__).with_name("served.yaml")
BLOCKS = {"plain": noise(MIB), "packed": text(MIB)}
COUNTS = {"plain": 512, "packed": 192}  # of blocks; compressing takes its time


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path / "data", manifests=SERVED) as running:
        yield running
        assert running.resident_bytes("VmHWM") < MOST


class Stalling(Wire):
    """A client that takes next to nothing."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)


def connected(gateway: Gateway) -> HTTPConnection:
    parts = urlsplit(gateway.url)
    return HTTPConnection(str(parts.hostname), parts.port, timeout=30)


def upload(gateway: Gateway, path: str, pieces: Iterable[bytes], size: int | None) -> int:
    """The status that comes of a PUT, in chunks where no size is given."""
    with closing(connected(gateway)) as connection:
        length = {} if size is None else {"content-length": str(size)}
        connection.request("PUT", path, pieces, length, encode_chunked=size is None)
        return connection.getresponse().status


def repeats(gateway: Gateway, path: str, block: bytes) -> int:
    """How many times the body of a GET repeats `block`."""
    with closing(connected(gateway)) as connection:
        connection.request("GET", path)
        answer, count = connection.getresponse(), 0
        while piece := answer.read(len(block)):
            assert piece == block
            count += 1
        return count


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("usecase", ["plain", "packed"])
def test_a_large_object_passes_through(gateway: Gateway, usecase: str, framing: str) -> None:
    block, count = BLOCKS[usecase], COUNTS[usecase]
    path = f"/v1/objects/{usecase}/_/k"

    size = count * MIB if framing == "sized" else None
    assert upload(gateway, path, repeat(block, count), size) == 200
    assert repeats(gateway, path, block) == count


@pytest.mark.parametrize("window_log", [20, 23])
def test_a_bomb_of_zstd_goes_off_outside(gateway: Gateway, window_log: int) -> None:
    path = "/v1/objects/plain/_/k"
    body = bomb(1 << 30, window_log)

    stored = exchange(gateway.url, "PUT", path, {"content-encoding": "zstd"}, body)

    assert (stored.status, len(body) < 64 << 10) == (200, True)
    assert repeats(gateway, path, bytes(MIB)) == 1024


def test_a_window_that_no_reader_need_have_room_for_is_never_opened(gateway: Gateway) -> None:
    path, body = "/v1/objects/plain/_/k", bomb(256 * MIB, 27)
    exchange(gateway.url, "PUT", path, {"content-encoding": "zstd"}, body)

    assert exchange(gateway.url, "GET", path, {"accept-encoding": "zstd"}).body == body
    assert exchange(gateway.url, "GET", path).status == 406


def test_clients_that_take_their_time_take_no_memory(gateway: Gateway) -> None:
    place, clients = "/v1/objects/packed/_/", 24
    for usecase, count in (("plain", 256), ("packed", 64)):
        upload(gateway, f"/v1/objects/{usecase}/_/k", repeat(BLOCKS[usecase], count), count * MIB)
    with ExitStack() as stack:
        for number in range(clients):
            reader, writer = (stack.enter_context(Wire(gateway.url)) for _ in range(2))
            reader.send(head("GET", f"/v1/objects/{'plain' if number % 2 else 'packed'}/_/k"))
            writer.send(head("PUT", f"{place}{number}", {"content-length": str(1 << 30)}))
            for _ in range(3):
                writer.send(BLOCKS["packed"])

        while gateway.in_flight != 2 * clients:
            pass
        assert exchange(gateway.url, "PUT", place + "k", body=b"x").status == 200


def test_any_number_of_stalled_clients_leaves_room_and_gets_an_answer(gateway: Gateway) -> None:
    path, block = "/v1/objects/packed/_/", text(MIB)
    upload(gateway, path + "k", repeat(block, 16), 16 * MIB)
    idle = gateway.resident_bytes()
    with ExitStack() as stack:
        for number in range(100):
            reader, writer = (stack.enter_context(Stalling(gateway.url)) for _ in range(2))
            reader.send(head("GET", path + "k"))
            writer.send(head("PUT", f"{path}{number}", {"content-length": str(1 << 30)}))
            writer.send(block[: 300 << 10])
        while gateway.log.read_text().count('"status": 503') < 100:
            pass  # those who found no room: they hear of it in three seconds

        assert gateway.resident_bytes("VmHWM") < MOST

    while gateway.resident_bytes() > idle + 16 * MIB:
        pass  # what they held goes back to the system within seconds
