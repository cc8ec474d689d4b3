"""The command `pannier-gateway`, also where what it needs is missing: then it says so."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the gateway; 0 after an orderly end, 2 when it could not start."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, leave)  # until `serve` takes over: importing takes a while
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what it would have read again is yet to be read
    try:
        from pannier_gateway.command import run
    except ModuleNotFoundError as error:
        hint = "install the extra 'gateway', in a checkout: pip install '.[gateway]'"
        print(f"pannier-gateway: {error.name} is missing; {hint}", file=sys.stderr)
        return 2
    return run()


def leave(_: int, __: FrameType | None) -> None:
    """End at once: nothing has begun, and an exception could get lost in an import."""
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
