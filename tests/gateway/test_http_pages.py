"""Web pages, and names that were pointed at this machine, are kept out; programs are not."""

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pannier_gateway.api.pages import any_host, foreign_page, loopback_hosts
from pannier_gateway.listeners import bind, hosts_of
from pannier_gateway.settings import Address
from support.gateway import Gateway, running_gateway
from support.wire import Wire, exchange, read_answer

PORTS = st.sampled_from(["", ":80", ":8650"])
LOOPBACK = loopback_hosts("storage.example")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://pages.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:8650"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "pages.example:8650"},
        {"host": "127.0.0.1.pages.example"},
        {"host": "localhost.pages.example"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_page_gets_nothing_changes_nothing_and_is_told_why(
    gateway: Gateway, plain: str, method: str, headers: dict[str, str]
) -> None:
    exchange(gateway.url, "PUT", plain + "k", body=b"bytes")

    answer = exchange(gateway.url, method, plain + "k", headers, b"other")

    assert (answer.status, answer.headers["connection"]) == (403, "close")
    if method != "HEAD":
        assert next(iter(headers)) in answer.detail
    assert exchange(gateway.url, "GET", plain + "k").body == b"bytes"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"host": "localhost:8650"},
        {"host": "LocalHost."},
        {"host": "storage.localhost"},
        {"host": "127.0.0.1:8650"},
        {"host": "10.1.2.3"},
        {"host": "[::1]:8650"},
        {"host": "gateway:8650"},
        {"host": ""},
    ],
    ids=repr,
)
def test_a_program_or_a_person_is_let_in(gateway: Gateway, headers: dict[str, str]) -> None:
    assert exchange(gateway.url, "GET", "/health", headers).status == 200


@given(st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map("[{}]".format), PORTS)
def test_an_address_is_nobodys_name(address: str, port: str) -> None:
    assert LOOPBACK(address + port)


@given(
    st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}\.[a-z]{2,8}\.?", fullmatch=True), PORTS
)
def test_a_name_that_can_be_bought_is_not_ours(name: str, port: str) -> None:
    assert LOOPBACK(name + port) == (name.removesuffix(".").endswith(".localhost"))


def test_the_name_that_the_listener_was_given_is_ours() -> None:
    assert LOOPBACK("Storage.Example:8650")


def test_a_listener_that_others_reach_takes_any_name() -> None:
    for host, any_name in [("127.0.0.1", False), ("127.8.8.8", False), ("0.0.0.0", True)]:
        asked = Address(host, 0)
        with bind(asked, "--listen") as listener:
            assert (hosts_of(listener, asked) is any_host) == any_name

    assert foreign_page(CIMultiDict(host="storage.example"), any_host) is None
    assert foreign_page(CIMultiDict(host="storage.example", origin="x"), any_host) is not None


@pytest.mark.slow
def test_a_unix_socket_takes_any_name(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with (
        running_gateway(tmp_path / "data", extra_args=["--socket", str(path)]),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path))
        client.sendall(b"GET /health HTTP/1.1\r\nhost: storage.example\r\n\r\n")
        with client.makefile("rb") as answers:
            assert read_answer(answers, "GET").body == b"OK"


def test_a_page_that_asks_again_on_the_same_connection_is_not_heard(wire: Wire) -> None:
    wire.send(b"GET /health HTTP/1.1\r\nhost: x\r\norigin: y\r\n\r\n" * 2)

    assert wire.answer().status == 403
    assert wire.rest() == b""
