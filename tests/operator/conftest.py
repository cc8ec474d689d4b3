"""Places to work in, and ways there on which nothing has gone wrong yet."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.apiproxy import Proxy, running_proxy
from support.cluster import ADMIN, ControlPlane
from support.operators import Place


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command sets up logging for its whole process, which here goes on after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Place:
    """A namespace of this test's own."""
    return Place(control_plane, namespace)


@pytest.fixture
def other(control_plane: ControlPlane) -> Place:
    """Another one."""
    return Place(control_plane, control_plane.create_namespace())


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[Proxy]:
    """A way to the API server; nothing goes wrong on it yet."""
    with running_proxy(control_plane) as started:
        yield started


@pytest.fixture
def way(proxy: Proxy, control_plane: ControlPlane) -> Path:
    """A kubeconfig of an administrator who goes through the proxy."""
    return proxy.kubeconfig(control_plane.tokens[ADMIN])
