"""The command `pannier-operator`, also where what it needs is missing: then it says so."""

import signal
import sys


def main() -> int:
    """Run the command; see `command.main` for what it returns."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # importing takes a while, and ends untold
    try:
        from pannier_operator import command
    except ModuleNotFoundError as error:
        hint = "install the extra 'operator', in a checkout: pip install '.[operator]'"
        print(f"pannier-operator: {error.name} is missing; {hint}", file=sys.stderr)
        return 2
    return command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
