"""Where codec work runs, and how much memory its decoders may hold together."""

from concurrent.futures import Executor
from typing import NamedTuple

from pannier_gateway.codec.budget import MemoryBudget


class Workers(NamedTuple):
    """What streams of the codec work with."""

    executor: Executor
    budget: MemoryBudget
