"""Log format: one line per event, `time level name message key=value ...`."""

from __future__ import annotations

import logging
import sys
from typing import Final

_OUR_PACKAGES: Final = (
    "domain",
    "models",
    "providers",
    "runtime",
    "services",
    "worker",
    "webhook_app",
    "cli",
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}


class _Line(logging.Formatter):
    """Appends the `extra` values to the constant message."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        values = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return line if not values else f"{line} " + " ".join(f"{key}={val}" for key, val in values.items())


def configure(level: int = logging.INFO) -> None:
    """Log to standard error: our packages from `level` on, libraries from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in _OUR_PACKAGES:
        logging.getLogger(package).setLevel(level)
