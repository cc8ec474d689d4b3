"""The same storm from outside: several callers write over HTTP until the gateway is killed."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from threading import Lock

from support.gateway import Gateway
from support.ledger import Broken, Ledger, Object, Operation
from support.storm_writer import Dice
from support.wire import Wire

CALLERS = 4
MOST_OPERATIONS = 60  # acknowledged in a round, before the kill
OBJECTS = "/v1/objects/attachments/_/"


class HttpStorm:
    """Rounds against one gateway after another, all on the same data directory."""

    def __init__(self, seed: int) -> None:
        self.ledger = Ledger()
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<HttpStorm {self.ledger.tally}>"

    def rage(self, gateway: Gateway) -> None:
        """Write until so many operations are acknowledged and the gateway is killed for it."""
        seed = self._random.getrandbits(32)
        enough = self.ledger.tally.acknowledged + self._random.randrange(MOST_OPERATIONS)
        with ThreadPoolExecutor(CALLERS) as pool:
            calls = [
                pool.submit(self._call, gateway, Dice(seed, caller, self._numbers), enough)
                for caller in range(CALLERS)
            ]
        for call in calls:
            call.result()

    def look(self, gateway: Gateway) -> None:
        """Judge what a reader of the gateway that came after finds."""
        with Wire(gateway.url) as wire:
            found = {key: object_at(wire, key) for key in listed(wire)}
            self.ledger.settle(found)
            shared = [key for key in found if key.startswith("shared/")]
            for key in shared:
                assert wire.ask("DELETE", OBJECTS + key).status == 204
            self.ledger.forget(shared)

    def _call(self, gateway: Gateway, dice: Dice, enough: int) -> None:
        with suppress(ConnectionError), Wire(gateway.url) as wire:
            while True:
                with self._lock:
                    operation = dice.operation()
                    self.ledger.begin(operation)
                status = ask(wire, operation)
                with self._lock:
                    self._note(operation, status)
                    if self.ledger.tally.acknowledged >= enough:
                        gateway.process.kill()

    def _note(self, operation: Operation, status: int) -> None:
        if status == 412 and operation.verb == "create":
            self.ledger.refused(operation.number)
        elif status in (200, 204, 404):
            self.ledger.done(operation.number)
        else:
            raise Broken(f"{operation} was answered with {status}")


def ask(wire: Wire, operation: Operation) -> int:
    """The status that the gateway answers with."""
    target = OBJECTS + operation.key
    if operation.verb == "delete":
        return wire.ask("DELETE", target).status
    headers = {"x-snme-version": str(operation.number)}
    if operation.verb == "create":
        headers["if-none-match"] = "*"
    return wire.ask("PUT", target, headers, operation.body).status


def listed(wire: Wire) -> Iterator[str]:
    page = json.loads(wire.ask("GET", OBJECTS.rstrip("/") + "?limit=1000").body)
    assert page["next"] is None
    return (entry["key"] for entry in page["objects"])


def object_at(wire: Wire, key: str) -> Object:
    answer = wire.ask("GET", OBJECTS + key)
    if answer.status != 200:
        raise Broken(f"{key} is listed, and read with {answer.status}")
    return Object(int(answer.headers["x-snme-version"]), answer.body)
