"""The command `pannier-gateway`, also where what it needs is missing: then it says so."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the gateway; 0 after an orderly end, 2 when it could not start."""
    interrupts(lifecycle=sys.argv[1:2] == ["lifecycle"])
    try:
        from pannier_gateway.command import run
    except ModuleNotFoundError as error:
        hint = "install the extra 'gateway', in a checkout: pip install '.[gateway]'"
        print(f"pannier-gateway: {error.name} is missing; {hint}", file=sys.stderr)
        return 2
    return run()


def interrupts(*, lifecycle: bool) -> None:
    """What signals do from now on; a gateway heeds them in its own way once it serves."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL if lifecycle else leave)
    # what SIGHUP would have a gateway read again is yet to be read
    signal.signal(signal.SIGHUP, signal.SIG_DFL if lifecycle else signal.SIG_IGN)


def leave(_: int, __: FrameType | None) -> None:
    """End at once: nothing has begun, and an exception could get lost in an import."""
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
