"""Tests whose programs a machine can't have: passed over on a desk, where somebody reads why. In
continuous integration (CI=true, as its makers have it) nobody would, so there they fail."""

import os
from typing import NoReturn

import pytest


def do_without(reason: str) -> NoReturn:
    """End the test that asks."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
