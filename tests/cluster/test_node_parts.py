"""What the tests on a real node stand on, as far as that can be told without one."""

import subprocess
import sys
from pathlib import Path

import pytest

from support import ground, images
from support.binaries import ROOT, Unavailable

UNPRIVILEGED = """
import os, runpy
os.geteuid = lambda: 1000
runpy.run_path("tools/e2e.py", run_name="__main__")
"""


def test_who_may_not_make_a_machine_is_told_so_in_one_line() -> None:
    command = [sys.executable, "-c", UNPRIVILEGED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 77  # which .ci/run passes over
    assert done.stderr.count("\n") == 1
    assert "cannot run here: a Kubernetes node needs Linux and root" in done.stderr


def test_a_machine_is_tried_out_before_anything_is_built_for_it(tmp_path: Path) -> None:
    """Who is root may lack rights all the same; here what is laid over /usr is not there."""
    with pytest.raises(Unavailable, match=r"no machine of its own|bears no node"):
        ground.check(tmp_path / "nowhere")


def test_images_are_built_anew_when_a_source_of_theirs_changes(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    module = tmp_path / "gateway" / "module.py"
    module.write_text("one = 1")
    before = images.archive(tmp_path)
    (tmp_path / "notes").touch()

    assert images.archive(tmp_path) == before
    module.write_text("two = 2")
    assert images.archive(tmp_path) != before
