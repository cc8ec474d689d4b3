"""Programs that are interrupted while they import what they need."""

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

SIGINT = 1 << (signal.SIGINT - 1)


def interrupted(command: Sequence[str]) -> tuple[int, str]:
    """The exit status and what was said, of a program that has SIGINT end it and got it then.

    Raises AssertionError if it ends before it has given up the handler that Python begins with.
    """
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            for caught in (True, False):
                while _catches(process) is not caught:
                    assert process.poll() is None, "it has ended, and never let SIGINT end it"
        finally:
            process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    return process.returncode, said


def _catches(process: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    masks = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)  # none, once it has ended
    return any(int(mask, 16) & SIGINT for mask in masks)
