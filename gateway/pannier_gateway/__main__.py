"""The command `pannier-gateway`."""

import asyncio
import os
import sys

import uvloop

from pannier_gateway import logs
from pannier_gateway.config.problems import ConfigError
from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.serve import serve
from pannier_gateway.settings import SettingsError, parse_settings


def main() -> int:
    """Run the gateway; 0 after an orderly end, 2 when it could not start."""
    try:
        settings = parse_settings(sys.argv[1:], os.environ)
        logs.configure(settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except (SettingsError, ConfigError, StoreUnavailable, OSError) as error:
        print(f"pannier-gateway: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
