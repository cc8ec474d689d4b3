"""The command `pannier-gateway`, once all that it needs is installed."""

import asyncio
import gc
import os
import sys

import uvloop

from pannier_gateway import logs, steward
from pannier_gateway.allocator import keep_buffers
from pannier_gateway.config.problems import ConfigError
from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.serve import serve
from pannier_gateway.settings import SettingsError, parse_settings
from pannier_gateway.supervisor import supervise

COLLECT_AFTER = 10_000  # new objects: a request makes some fifty, and few cycles


def run() -> int:
    """Run the gateway; 0 after an orderly end, 2 when it could not start. Or the other command."""
    try:
        if sys.argv[1:2] == ["lifecycle"]:
            return steward.run(sys.argv[2:], os.environ)
        settings = parse_settings(sys.argv[1:], os.environ)
        logs.configure(settings.log_level)
        os.umask(0o077)  # what is kept is for nobody else on this machine
        spare_the_collector()
        keep_buffers()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if settings.workers > 1:
                return runner.run(supervise(settings, sys.argv[1:]))
            runner.run(serve(settings))
    except (SettingsError, ConfigError, StoreUnavailable, OSError) as error:
        print(f"pannier-gateway: {error}", file=sys.stderr)  # noqa: T201  # no log yet
        return 2
    return 0


def spare_the_collector() -> None:
    """Keep what a start leaves behind out of every collection, and collect less often."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
