"""Where the log goes: stderr, as text for a person or as one JSON object a line. Times are UTC."""

import logging
import sys
from datetime import UTC, datetime

import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from agent.config import Log


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        lines = record.getMessage() + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")
        return f"{_time(record)} {record.levelname.lower():7} {record.name}: {lines}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def start_logging(config: Log) -> None:
    """Send everything from `config.level` on to stderr; replaces what was set up before."""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(_Json() if config.format == "json" else _Text())
    logging.basicConfig(handlers=[to_stderr], level=config.level.upper(), force=True)
    # An upload that takes longer than the interval is no fault: the next one takes all that waits.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.server").filters[:] = [_no_http]


def _no_http(record: logging.LogRecord) -> bool:
    """Bytes that are no HTTP are answered with 400. That is the other end's fault, which any port scanner can commit: no
    error here, and no place to let it fill the log with traces."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
