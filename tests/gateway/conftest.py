"""One gateway for all tests that only talk to it; each test has a namespace of its own."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gateway import Gateway, running_gateway
from support.wire import Wire

SERVED = Path(__file__).with_name("served.yaml")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("shared") / "data", manifests=SERVED) as running:
        yield running


@pytest.fixture
def wire(gateway: Gateway) -> Iterator[Wire]:
    with Wire(gateway.url) as connection:
        yield connection


@pytest.fixture
def scope() -> str:
    return f"test={secrets.token_hex(6)}"


@pytest.fixture
def plain(scope: str) -> str:
    """Where objects are kept as they come."""
    return f"/v1/objects/plain/{scope}/"


@pytest.fixture
def packed(scope: str) -> str:
    """Where objects are compressed if that pays."""
    return f"/v1/objects/packed/{scope}/"
