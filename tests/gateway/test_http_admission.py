"""Limits over HTTP: who is refused, who is slowed down, and who is neither."""

from time import monotonic

from support.gateway import Gateway
from support.wire import Wire, exchange, head

RATE = 200_000  # limits.bytesPerSecond of usecase trickle


def test_one_request_too_many_at_once_is_refused_and_the_next_one_is_not(
    gateway: Gateway, wire: Wire, scope: str
) -> None:
    path = f"/v1/objects/one-at-a-time/{scope}/k"
    with Wire(gateway.url) as other:
        other.send(head("PUT", path, {"content-length": "5", "expect": "100-continue"}))
        assert other.interim() == 100

        refused = wire.ask("PUT", path, body=b"other")

        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert "usecase 'one-at-a-time' is at its limits.concurrentRequests of 1" in refused.detail
        other.send(b"bytes")
        assert other.answer().status == 200
    assert wire.ask("GET", path).body == b"bytes"


def test_a_request_over_the_rate_is_refused_before_it_is_asked_for_its_body(
    gateway: Gateway, wire: Wire, scope: str
) -> None:
    path = f"/v1/objects/one-a-second/{scope}/k"
    while wire.ask("GET", path).status != 429:
        pass

    wire.send(head("PUT", path, {"content-length": "5", "expect": "100-continue"}))
    refused = wire.answer()
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    page = exchange(gateway.admin_url, "GET", "/metrics").body.decode()
    assert 'pannier_limited_requests_total{limit="requestsPerSecond",usecase="one-a-sec' in page


def test_bytes_over_the_rate_take_their_time_in_and_out(wire: Wire, scope: str) -> None:
    path, body = f"/v1/objects/trickle/{scope}/", bytes(RATE)

    begun = monotonic()
    assert wire.ask("PUT", path + "large", body=body + body[: RATE // 8]).status == 200
    assert wire.ask("GET", path + "large", {"range": f"bytes=0-{RATE // 8}"}).status == 206
    assert wire.ask("GET", path + "large", {"range": "bytes=5-"}).status == 206

    assert monotonic() - begun > 1.2


def test_a_small_paced_answer_is_as_whole_as_any(wire: Wire, scope: str) -> None:
    path = f"/v1/objects/trickle/{scope}/k"
    wire.ask("PUT", path, body=b"few")

    assert wire.ask("GET", path).body == b"few"
    assert wire.ask("HEAD", path).headers["content-length"] == "3"
    assert wire.ask("GET", path, {"if-none-match": "*"}).status == 304
