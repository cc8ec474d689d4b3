"""Log lines, on standard error: one JSON object each, and words where a person looks on."""

import json
import logging
import sys
from datetime import UTC, datetime

from aiohttp.http_exceptions import HttpProcessingError

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Time, level, logger and event, then whatever fields the event has."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= fields_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Words(logging.Formatter):
    """The same for a terminal, with the time of day; what strangers send can't steer it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # named there
        told = (f" {name}={value!r}" for name, value in fields_of(record).items())
        return super().formatMessage(record) + "".join(told)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What the event has beside its name."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


def configure(level: str) -> None:
    """Send every log line of `level` and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Words() if sys.stderr.isatty() else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(not_malformed)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.getLogger("botocore").setLevel(logging.WARNING)  # below it tells tokens and keys


def not_malformed(record: logging.LogRecord) -> bool:
    """False for the traceback that aiohttp makes of every request that it can't parse."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)
