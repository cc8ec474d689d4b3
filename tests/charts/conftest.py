"""The tool that makes what a chart and its page have from the code."""

import importlib.util
from types import ModuleType

import pytest

from support.charts import CHART

TOOL = CHART.parents[1] / "tools" / "chart_files.py"


@pytest.fixture(scope="session")
def files() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart_files", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
