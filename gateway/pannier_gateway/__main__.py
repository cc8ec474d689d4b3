"""The command `pannier-gateway`, also where what it needs is missing: then it says so."""

import sys


def main() -> int:
    """Run the gateway; 0 after an orderly end, 2 when it could not start."""
    try:
        from pannier_gateway.command import run
    except ModuleNotFoundError as error:
        hint = "install the extra 'gateway', in a checkout: pip install '.[gateway]'"
        print(f"pannier-gateway: {error.name} is missing; {hint}", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
