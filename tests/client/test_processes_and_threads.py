"""A client is shared by threads, goes on in forked children, and travels as a pickle."""

import copy
import os
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pannier import Client, ConnectionFailed, Expiration, Retry, Timeout
from pannier.protocol.durations import parse_duration
from support.scripted import OK_PUT, Peer, answer, serving

HELLO = answer("200 OK", b"hello")


def in_a_forked_child(work: Callable[[], None]) -> None:
    """Run it in a child; what goes wrong there fails here."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # a child of a test must not run on as another test
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0


forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@forks
def test_a_forked_child_opens_connections_of_its_own() -> None:
    with serving(HELLO) as server, Client(server.url) as client:
        session = client.session("abc")
        session.get("k").read()

        def work() -> None:
            assert repr(client).endswith(" 0 idle>")
            for _ in range(3):
                assert session.get("k").read() == b"hello"

        in_a_forked_child(work)
        assert repr(client).endswith(" 1 idle>")
        assert session.get("k").read() == b"hello"

    assert server.connections == 2


@forks
def test_a_body_half_read_stays_with_the_process_that_asked() -> None:
    with serving(HELLO) as server, Client(server.url) as client:
        result = client.session("abc").get("k")
        result.read(1)

        def work() -> None:
            with pytest.raises(ConnectionFailed, match="parent"):
                result.read()
            result.close()
            assert repr(client).endswith(" 0 idle>")

        in_a_forked_child(work)
        assert result.read() == b"ello"
        assert client.session("abc").get("k").read() == b"hello"

    assert server.connections == 1


@forks
def test_parent_and_children_use_a_client_at_the_same_time() -> None:
    with serving(HELLO) as server, Client(server.url) as client:
        session = client.session("abc")
        session.get("k").read()
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                bodies = [session.get("k").read() for _ in range(20)]
                os._exit(0 if bodies == [b"hello"] * 20 else 1)
            children.append(child)
        bodies = [session.get("k").read() for _ in range(20)]
        statuses = [os.waitpid(child, 0)[1] for child in children]

    assert bodies == [b"hello"] * 20
    assert statuses == [0] * 4
    assert server.connections == 5


def echo(peer: Peer) -> None:
    """Answer a get with the target it asked for, a put as stored."""
    while request := peer.read_request():
        body = request.target.encode()
        peer.send(answer(body=body) if request.method == "GET" else OK_PUT)


def test_threads_share_a_client_and_get_each_what_they_asked_for() -> None:
    with serving(echo) as server, Client(server.url, pool_size=4) as client:
        session = client.session("abc")

        def work(number: int) -> bool:
            stored = session.put(b"x" * number, "k")
            body = session.get(f"key-{number}").read()
            return body.endswith(b"/key-%d" % number) and stored.size == number

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(work, range(200)))
        assert len(repr(client)) < 60

    assert server.connections < 200


def test_a_client_pickles_as_its_configuration() -> None:
    with serving(HELLO) as server:
        client = Client(server.url, timeout=Timeout(2, 3), retry=Retry(1), headers={"x-a": "b"})
        session = client.session("abc", org=1)
        session.get("k").read()

        twin, twin_session = pickle.loads(pickle.dumps((client, session)))
        assert repr(twin).endswith(" 0 idle>")
        assert twin_session.get("k").read() == b"hello"
        assert repr(twin).endswith(" 1 idle>")
        assert repr(copy.deepcopy(client)).endswith(" 0 idle>")
        client.close()
        twin.close()

    assert [request.headers["x-a"] for request in server.requests] == ["b", "b"]
    assert server.connections == 2


def test_values_that_the_client_hands_out_pickle() -> None:
    with serving(answer("200 OK", b"", 'etag: "e"', "x-snme-a: b")) as server:
        metadata = Client(server.url, pool_size=0).session("abc").head("k")

    expiration = Expiration.ttl(parse_duration("1h"))
    assert pickle.loads(pickle.dumps((metadata, expiration))) == (metadata, expiration)
