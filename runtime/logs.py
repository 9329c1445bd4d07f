"""Logs: one line per event, `time level name message key=value ...`, for people and machines alike."""

from __future__ import annotations

import logging
import sys
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}


class _Line(logging.Formatter):
    """The message is constant, the values follow it."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        values = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return line if not values else f"{line} " + " ".join(f"{key}={val}" for key, val in values.items())


def configure(level: int = logging.INFO) -> None:
    """Log to standard error; third parties only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ("seats", "models", "providers", "runtime", "worker", "webhook_app", "cli"):
        logging.getLogger(room).setLevel(level)
