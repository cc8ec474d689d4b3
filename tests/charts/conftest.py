"""The tool that makes what a chart and its page have from the code."""

from types import ModuleType

import pytest

from support.charts import CHART
from support.programs import loaded

TOOL = CHART.parents[1] / "tools" / "chart_files.py"


@pytest.fixture(scope="session")
def files() -> ModuleType:
    return loaded(TOOL)
