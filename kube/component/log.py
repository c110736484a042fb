"""Structured logging: an event name and key-values, human on a terminal, JSON otherwise.

log = get_logger(__name__)
log.info("pod bound", pod="default/web-1", node="w1")
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any


class Logger:
    """A standard library logger that takes key-values instead of format arguments."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Like `error`, with the traceback of the exception being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(
        self, level: int, event: str, fields: dict[str, object], exc_info: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields}, exc_info=exc_info)


def get_logger(name: str) -> Logger:
    return Logger(name)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", {})
    return fields if isinstance(fields, dict) else {}


class HumanFormatter(logging.Formatter):
    """`12:00:01.123 INFO  pod bound pod=default/web-1 node=w1`"""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        pairs = "".join(f" {key}={value}" for key, value in _fields(record).items())
        text = f"{when} {record.levelname:<7} {record.getMessage()}{pairs}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, msg, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        entry.update(_fields(record))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class _BadRequests(logging.Filter):
    """aiohttp logs what is no HTTP as an error, with a traceback and all of its bytes.

    It is the sender's fault and answered by 400 already: one short warning is enough, and nobody
    can fill the journal by sending garbage.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if type(error).__module__ == "aiohttp.http_exceptions":
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            said = " ".join(str(error).split())[:120]
            record.fields = {"error": said, "kind": type(error).__name__}
            record.exc_info = None
        return True


def configure(level: int = logging.INFO) -> None:
    """Send all logging to stdout. Called once, by `run`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(HumanFormatter() if sys.stdout.isatty() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_BadRequests())
    # aiohttp logs each request at INFO; the audit of requests is the api-server's own business.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
