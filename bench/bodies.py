"""Bytes to send: such as do not compress, and such as do. The same in every run."""

import random
from pathlib import Path

SEED = 8650
VERBS = ("stored", "fetched", "deleted", "listed", "refused", "expired")


def noise(path: Path, size: int) -> Path:
    """A file of `size` bytes that no codec makes smaller."""
    path.write_bytes(random.Random(SEED).randbytes(size))
    return path


def logs(path: Path, size: int) -> Path:
    """A file of `size` bytes like a service's log: text that compresses about fivefold."""
    dice = random.Random(SEED)
    lines: list[str] = []
    length = 0
    while length < size:
        lines.append(_line(dice))
        length += len(lines[-1])
    path.write_text("".join(lines)[:size])
    return path


def _line(dice: random.Random) -> str:
    moment = (
        f"2026-03-{dice.randint(1, 28):02d}T{dice.randint(0, 23):02d}:{dice.randint(0, 59):02d}"
    )
    return (
        f'{{"time": "{moment}", "event": "object {dice.choice(VERBS)}", "usecase": "attachments", '
        f'"size": {dice.randrange(10**6)}, "trace": "{dice.randrange(1 << 64):016x}"}}\n'
    )
