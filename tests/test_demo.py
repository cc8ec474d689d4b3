"""The demo does what it says, and says so when it does not."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from support.programs import loaded

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-u", DEMO],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def demo() -> ModuleType:
    return loaded(DEMO)


@pytest.mark.slow
def test_the_demo_shows_the_main_job_and_leaves_nothing_behind(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    said, complaint = running.communicate()

    assert (running.returncode, complaint) == (0, "")
    assert "67,108,864" in said
    assert "gone after " in said
    assert 'pannier_requests_total{operation="put"' in said
    assert "Every byte came back as it went in" in said
    assert list(tmp_path.iterdir()) == []


def test_the_demo_explains_itself(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo.py", "--help"])

    assert demo.main() == 0
    assert "examples/demo.py examples/s3.yaml" in capsys.readouterr().out


@pytest.mark.slow
def test_a_demo_that_is_interrupted_takes_its_gateway_along(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert running.stdout is not None
    url = urlsplit(running.stdout.readline().split()[2].rstrip(","))

    running.send_signal(signal.SIGINT)
    said, complaint = running.communicate()

    assert (running.returncode, complaint) == (130, "")
    assert "nothing is left behind" in said
    assert list(tmp_path.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex((str(url.hostname), int(url.port or 0))) != 0


class Garbling:
    """Stands in for a session: no real gateway gives other bytes than it was given."""

    def get(self, _key: str) -> BytesIO:
        return BytesIO(b"other bytes")


@pytest.mark.parametrize(
    ("stored", "complaint"),
    [(b"the bytes  ", "came back different"), (b"other bytes and more", "came back shorter")],
)
def test_an_object_that_comes_back_otherwise_fails_the_demo(
    demo: ModuleType, tmp_path: Path, stored: bytes, complaint: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(stored)

    with pytest.raises(demo.Failed, match=f"it {complaint}"):
        demo.compare(Garbling(), demo.Sample("it", "text/plain", file))
