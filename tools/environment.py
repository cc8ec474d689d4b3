"""The virtual environment that every make target runs in: built when missing, brought up to date
when its lock changed, left alone otherwise, and then quickly: each target asks first.

Runs on the machine's own Python, so that an old one is told from here what is missing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"
PROJECT = [ROOT / "pyproject.toml", ROOT / "client" / "pannier" / "version.py"]
OLDEST = (3, 11)
LOCKED = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"]
OURS = ["--no-deps", "--no-build-isolation", "--quiet", "--editable"]


def main() -> None:
    if sys.version_info < OLDEST:
        sys.exit(
            f"Pannier needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and {sys.executable} is"
            f" {sys.version.split()[0]}. Name another one: make PYTHON=python3.13 …"
        )
    venv = Path(sys.argv[1]).absolute()
    stamp = venv / "pannier.json"
    wanted = wanted_state()
    if parts := outdated(read_state(stamp), wanted):
        started = time.monotonic()
        for part in parts:
            STEPS[part](venv)
        stamp.write_text(json.dumps(wanted))
        say(f"{venv} is ready, after {time.monotonic() - started:.0f} s")


def wanted_state() -> dict[str, str]:
    """What the environment is made of, in the order in which one part builds on the other."""
    return {
        "python": f"{sys.version} in {sys.base_prefix}",
        "lock": digest(LOCK),
        "project": f"{' '.join(map(digest, PROJECT))} in {ROOT}",
    }


def outdated(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """The parts to do again: the first that changed, and all that build on it."""
    parts = list(wanted)
    changed = (number for number, part in enumerate(parts) if found.get(part) != wanted[part])
    return parts[next(changed, len(parts)) :]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_state(stamp: Path) -> dict[str, str]:
    """The state that the last run left behind; empty where there was none or it did not finish."""
    try:
        state: dict[str, str] = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return {}
    return state


def create(venv: Path) -> None:
    """An empty environment, with a pip of its own where this Python can give it one."""
    say(f"creating {venv} with Python {sys.version.split()[0]}")
    bare = [] if has("ensurepip") else ["--without-pip"]
    if bare and not has("pip"):
        sys.exit(
            f"{sys.executable} has neither ensurepip nor pip, so nothing can be installed with it."
            " On Debian and Ubuntu: apt install python3-venv. Or name another Python:"
            " make PYTHON=/path/to/python3 …"
        )
    run([sys.executable, "-m", "venv", "--clear", *bare, str(venv)])


def install_lock(venv: Path) -> None:
    """Installs what the lock pins, a line of progress at a time.

    Only wheels are taken, so no compiler is needed; bytecode comes with first use."""
    total = sum("==" in line for line in LOCK.read_text().splitlines())
    say(f"installing {total} packages …")
    command = [*pip(venv), "install", *LOCKED, "--requirement", str(LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        collected = (line.split()[1] for line in process.stdout if line.startswith("Collecting "))
        for number, requirement in enumerate(collected, start=1):
            progress(f"{number}/{total} {requirement}")
    progress("")
    if process.returncode:
        sys.exit("The pinned packages could not be installed: see above.")


def install_project(venv: Path) -> None:
    run([*pip(venv), "install", *OURS, str(ROOT)])


STEPS = {"python": create, "lock": install_lock, "project": install_project}


def pip(venv: Path) -> list[str]:
    """The command of the environment's own pip, or else of this Python's, aimed at it."""
    python = str(venv / "bin" / "python")
    if list(venv.glob("lib/python*/site-packages/pip")):
        return [python, "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", python]


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def run(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"This failed: {' '.join(command)}")


def say(line: str) -> None:
    print(f"setup: {line}", flush=True)


def progress(line: str) -> None:
    """Overwrites the line before where somebody watches; says nothing in a log."""
    if sys.stdout.isatty():
        print(f"\r\x1b[Ksetup: {line}" if line else "\r\x1b[K", end="", flush=True)


if __name__ == "__main__":
    main()
