"""Which connection carries a request, when one is tried again, and when it is given up."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier import (
    Client,
    ConnectionFailed,
    NotFound,
    PannierError,
    ProtocolError,
    RequestTimeout,
    Retry,
    Session,
    Timeout,
    TransientError,
)
from support.scripted import OK_PUT, Peer, Script, answer, serving

HELLO = answer("200 OK", b"hello")
CLOSING = answer("200 OK", b"hello", "connection: close")
BIG = answer("200 OK", b"x" * (8 << 20))


def silent_after(*said: bytes) -> Script:
    """Answer as many requests with these, then take one more and say nothing."""

    def script(peer: Peer) -> None:
        for reply in said:
            peer.read_request()
            peer.send(reply)
        peer.wait_for_end()

    return script


def test_no_connection_is_made_before_it_is_needed() -> None:
    with serving(HELLO) as server:
        client = Client(server.url)
        client.session("abc").list()
        client.close()

    assert server.connections == 0


def test_requests_that_follow_each_other_share_a_connection() -> None:
    with serving((HELLO, OK_PUT, HELLO)) as server, Client(server.url) as client:
        session = client.session("abc")
        with session.get("k") as result:
            result.read()
        session.put(b"x", "k")
        session.head("k")
        assert repr(client).endswith(" 1 idle>")

    assert server.connections == 1


def test_a_connection_is_free_with_the_last_byte_not_only_with_close() -> None:
    with serving(HELLO) as server, Client(server.url) as client:
        first = client.session("abc").get("k")
        assert first.read(5) == b"hello"
        second = client.session("abc").get("k")
        assert second.read() == b"hello"
        first.close()
        second.close()

    assert server.connections == 1


def test_a_small_rest_is_read_so_that_the_connection_lives() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    with serving((HELLO, chunked, HELLO)) as server, Client(server.url) as client:
        for _ in range(3):
            client.session("abc").get("k").close()

    assert server.connections == 1


def test_a_large_rest_costs_the_connection_and_nothing_else() -> None:
    with serving(BIG, HELLO) as server, Client(server.url) as client:
        with client.session("abc").get("k") as result:
            result.read(10)
        with client.session("abc").get("k") as result:
            assert result.read() == b"hello"

    assert server.connections == 2


def test_a_rest_that_does_not_come_is_waited_for_but_shortly() -> None:
    script = silent_after(HELLO[:-2])
    with serving(script) as server, Client(server.url, timeout=30) as client:
        client.session("abc").get("k").close()
        assert repr(client).endswith(" 0 idle>")


def test_a_result_that_nobody_closes_gives_its_connection_back() -> None:
    with serving(HELLO) as server, Client(server.url) as client:
        client.session("abc").get("k")
        client.session("abc").get("k").read()

    assert server.connections == 1


def test_a_closed_result_is_read_no_more() -> None:
    with serving(HELLO) as server, Client(server.url) as client:
        result = client.session("abc").get("k")
        result.close()
        result.close()
        with pytest.raises(ValueError, match="closed"):
            result.read()
        with pytest.raises(ValueError, match="closed"):
            result.readinto(bytearray(1))


def test_a_closed_client_asks_nothing_more_but_reads_on() -> None:
    with serving(HELLO) as server:
        client = Client(server.url)
        result = client.session("abc").get("k")
        client.close()
        assert result.read() == b"hello"
        with pytest.raises(ValueError, match="client is closed"):
            client.session("abc").get("k")
        assert repr(client).endswith(" closed>")


def test_a_server_that_closes_is_taken_at_its_word() -> None:
    with serving(CLOSING) as server, Client(server.url) as client:
        for _ in range(2):
            assert client.session("abc").get("k").read() == b"hello"
        assert repr(client).endswith(" 0 idle>")

    assert server.connections == 2


def test_a_connection_that_died_while_idle_is_replaced_unseen() -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.sock.shutdown(socket.SHUT_RDWR)
        gone.set()

    with serving(script, OK_PUT) as server, Client(server.url) as client:
        client.session("abc").get("k").read()
        gone.wait(10)
        client.session("abc").put([b"x"], "k")  # pieces, which no second sending could repeat

    assert server.connections == 2


def hang_up_at_the_second(reply: bytes) -> Script:
    """Answer one request, and close when the next one is in: it looks alive until it is used."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(reply)
        peer.read_request()

    return script


def test_a_repeatable_request_is_sent_again_when_a_used_connection_ends_unanswered() -> None:
    scripts = hang_up_at_the_second(HELLO), OK_PUT
    with serving(*scripts) as server, Client(server.url) as client:
        client.session("abc").get("k").read()
        assert client.session("abc").put(b"x", "k").etag == "e1"

    assert server.connections == 2
    assert server.request.body == b"x"


def test_a_request_on_a_new_connection_is_sent_once() -> None:
    with (
        serving(Peer.read_request) as server,
        Client(server.url) as client,
        pytest.raises(ConnectionFailed, match="no answer came"),
    ):
        client.session("abc").get("k")

    assert server.connections == 1


@pytest.mark.parametrize(
    "put",
    [
        lambda session: session.put(iter([b"x"]), "k"),
        lambda session: session.put(b"x", "k", if_none_match="*"),
        lambda session: session.put(b"x", "k", if_match="e"),
        lambda session: session.put(b"x"),
    ],
    ids=["spent pieces", "create only", "replace only", "no key"],
)
def test_what_may_have_happened_already_is_not_sent_again(put: Callable[[Session], object]) -> None:
    scripts = hang_up_at_the_second(HELLO), OK_PUT
    with serving(*scripts) as server, Client(server.url) as client:
        client.session("abc").get("k").read()
        with pytest.raises(ConnectionFailed):
            put(client.session("abc"))

    assert server.connections == 1


def test_an_answer_that_breaks_off_in_its_head_is_not_asked_for_again() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.read_request()
        peer.send(b"HTTP/1.1 20")

    with serving(script, HELLO) as server, Client(server.url) as client:
        client.session("abc").get("k").read()
        with pytest.raises((ProtocolError, ConnectionFailed)):
            client.session("abc").get("k")

    assert server.connections == 1


def test_a_gateway_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "late.sock"
    stored = []
    client = Client(f"unix://{path}", retry=Retry(10, 0.001, 0.01), pool_size=0)
    thread = threading.Thread(
        target=lambda: stored.append(client.session("abc").put(iter([b"x"]), "k"))
    )

    thread.start()
    with serving(OK_PUT, unix=path) as server:
        thread.join()

    assert stored[0].etag == "e1"
    assert server.request.body == b"x"


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "unix:///nowhere/x.sock"])
def test_a_gateway_that_is_not_there_is_named(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    client = Client(url.format(port=port), retry=Retry(0.01, 0.001, 0.002))

    with pytest.raises(ConnectionFailed, match=r"cannot reach .*PANNIER_URL") as raised:
        client.session("abc").get("k")
    assert isinstance(raised.value, TransientError)


def test_what_waiting_cannot_cure_is_not_waited_for(tmp_path: Path) -> None:
    client = Client(f"unix://{tmp_path}/{'x' * 200}", retry=Retry(3600))

    with pytest.raises(ConnectionFailed, match="too long"):
        client.session("abc").get("k")


def test_a_server_that_does_not_answer_is_left_after_the_timeout() -> None:
    patience = Timeout(connect=5, read=1)
    with (
        serving(silent_after(HELLO)) as server,
        Client(server.url, timeout=patience) as client,
    ):
        client.session("abc").get("k").read()
        with pytest.raises(RequestTimeout, match="no answer came") as raised:
            client.session("abc").get("k")

    assert isinstance(raised.value, TimeoutError)
    assert server.connections == 1


def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with serving((HELLO, OK_PUT), unix=path) as server, Client(server.url) as client:
        assert client.session("abc").get("k").read() == b"hello"
        assert client.session("abc").put(b"x" * (1 << 20), "k").size == 1 << 20

    assert server.requests[0].headers["host"] == "localhost"
    with pytest.raises(ValueError, match="no URL"):
        client.session("abc").object_url("k")


def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    with serving(interim + HELLO) as server, Client(server.url) as client:
        for _ in range(2):
            assert client.session("abc").get("k").read() == b"hello"

    assert server.connections == 1


def test_an_end_behind_an_interim_answer_is_a_broken_answer() -> None:
    with (
        serving((b"HTTP/1.1 103 Early Hints\r\n\r\n",)) as server,
        Client(server.url) as client,
        pytest.raises(ConnectionFailed, match="broke off"),
    ):
        client.session("abc").get("k")


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"220 mail ESMTP\r\n",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_said_to_be_so(reply: bytes) -> None:
    with (
        serving((reply,)) as server,
        Client(server.url) as client,
        pytest.raises(ProtocolError, match="not HTTP"),
    ):
        client.session("abc").get("k")


def test_bodies_that_http_forbids_are_not_waited_for() -> None:
    chunked = b"transfer-encoding: chunked\r\ncontent-type: a/b\r\n\r\n"
    replies = (
        b"HTTP/1.1 204 No Content\r\n" + chunked,
        b"HTTP/1.1 200 OK\r\n" + chunked,
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
    )
    with serving(replies) as server, Client(server.url) as client:
        client.session("abc").delete("k")
        client.session("abc").head("k")
        with pytest.raises(NotFound):
            client.session("abc").head("k")
        client.session("abc").head("k")

    assert server.connections == 1


def test_a_connection_that_speaks_unasked_is_not_used_again() -> None:
    said = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HELLO)
        peer.send(answer("200 OK", b"wrong"))
        said.set()
        peer.read_request()

    with serving(script, HELLO) as server, Client(server.url) as client:
        client.session("abc").get("k").read()
        said.wait(10)
        assert client.session("abc").get("k").read() == b"hello"

    assert server.connections == 2


def test_a_refusal_that_never_ends_does_not_hide_what_it_is() -> None:
    script = silent_after(b"HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\nabc")
    with (
        serving(script) as server,
        Client(server.url, timeout=Timeout(5, 0.05)) as client,
        pytest.raises(NotFound),
    ):
        client.session("abc").get("k")


def test_a_refusal_that_ends_with_its_connection_is_read() -> None:
    with (
        serving((b"HTTP/1.0 404 Not Found\r\n\r\nnothing here",)) as server,
        pytest.raises(NotFound, match="nothing here"),
    ):
        Client(server.url).session("abc").get("k")


def test_idle_connections_are_limited() -> None:
    with serving(HELLO) as server, Client(server.url, pool_size=2) as client:
        results = [client.session("abc").get("k") for _ in range(5)]
        for result in results:
            result.read()
        assert repr(client).endswith(" 2 idle>")

    assert server.connections == 5


HEADS = [
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
]


@given(
    st.sampled_from(HEADS), st.binary(max_size=40) | st.text("0123456789abx:;\r\n ").map(str.encode)
)
@settings(max_examples=60, deadline=None)
def test_whatever_a_server_says_is_a_whole_body_or_an_error_of_ours(
    head: bytes, rest: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(head + rest)

    with serving(script) as server, Client(server.url) as client, suppress(PannierError):
        with client.session("abc").get("k") as result:
            body = result.read()
        assert result.length in (None, len(body))
