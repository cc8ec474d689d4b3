"""A store that has lifecycle rules and what a probe found, and does to the rules what a test tells
it to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from pannier_gateway.stores.s3.lifecycle import NO_RULES, Rule, Rules, document, read
from pannier_gateway.stores.s3.traits import Traits
from support.scripted import Peer, Received, answer, serving

SMALLEST = "x-amz-transition-default-minimum-object-size"
NONE = answer(
    "404 Not Found", b"<Error><Code>NoSuchLifecycleConfiguration</Code><Message>m</Message></Error>"
)
REFUSAL = answer("400 Bad Request", b"<Error><Code>MalformedXML</Code><Message>m</Message></Error>")


def kept(rules: Rules) -> Rules:
    return rules


@dataclass
class Rulebook:
    """`keep` is what becomes of rules that are put, None where they are refused; `late` how many
    times the first ones are told still; `meanwhile` is what others write, before each request."""

    rules: Rules = NO_RULES
    keep: Callable[[Rules], Rules | None] = kept
    meanwhile: Callable[["Rulebook"], None] = lambda _: None
    late: int = 0
    traits: Traits | None = None
    port: int = 0
    asked: list[str] = field(default_factory=list)
    put: list[Rules] = field(default_factory=list)
    seen: list[Rules] = field(default_factory=list)
    beside: list[str | None] = field(default_factory=list)

    def answer(self, request: Received) -> bytes:
        if "lifecycle" not in request.target:
            return self._found()
        self.asked.append(request.method)
        self.meanwhile(self)
        match request.method:
            case "GET":
                return self._told()
            case "DELETE":
                return self._changed(NO_RULES)
        self.beside.append(request.headers.get(SMALLEST))
        self.put.append(read(request.body))
        rules = self.keep(self.put[-1])
        return REFUSAL if rules is None else self._changed(rules)

    def _found(self) -> bytes:
        """The findings of a probe; no other object is ever asked for."""
        if self.traits is None:
            return answer("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
        return answer("200 OK", msgspec.json.encode(self.traits), 'etag: "e"')

    def _told(self) -> bytes:
        known = self.rules
        if len(self.seen) > 1 and self.late:
            self.late -= 1
            known = self.seen[0]
        if not known:
            return NONE
        return answer("200 OK", document(known), f"{SMALLEST}: varies_by_storage_class")

    def _changed(self, rules: Rules) -> bytes:
        self.seen.append(self.rules)
        self.rules = rules
        self.seen.append(rules)
        return answer()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def open(self) -> Iterator["Rulebook"]:
        """Served, at `port`."""

        def script(peer: Peer) -> None:
            while (request := peer.read_request()) is not None:
                peer.send(self.answer(request))

        with serving(script) as server:
            self.port = urlsplit(server.url).port or 0
            yield self


def rule(name: str, *inside: str) -> Rule:
    return Rule(name, f"<Rule><ID>{name}</ID>{''.join(inside)}</Rule>")
