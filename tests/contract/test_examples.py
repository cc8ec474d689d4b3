"""What `examples/` shows can be applied to a cluster as it stands."""

from pathlib import Path

import pytest

from support.cluster import ControlPlane

pytestmark = pytest.mark.cluster

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {"quickstart", "s3", "hub"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_applied_whole_and_as_written(
    control_plane: ControlPlane, example: Path
) -> None:
    try:
        applied = control_plane.kubectl("apply", "--server-side", "-f", str(example))
        again = control_plane.kubectl("diff", "--server-side", "-f", str(example))
    finally:
        control_plane.kubectl("delete", "--ignore-not-found", "-f", str(example))

    assert applied.count("serverside-applied") == example.read_text().count("\nkind: ")
    assert again == ""
