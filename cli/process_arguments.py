"""The programs that the service's processes run, and their options.

This is the only place that has them: `seatsync up` starts them as children, `seatsync web`, `worker` and
`beat` become them. It imports nothing slow.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_BIN: Final = Path(sys.executable).parent

ENVIRONMENT: Final[Mapping[str, str]] = {
    # SIGTERM then ends a worker softly: what runs may finish, the rest goes back to the queue.
    "REMAP_SIGTERM": "SIGQUIT",
    "PYTHONUNBUFFERED": "1",
}
"""What each of them has in its environment besides the settings."""


def web(bind: str, port: int | str) -> list[str]:
    """The web server, gunicorn, on this address and port."""
    return _argv(
        "gunicorn",
        "webhook_app.main:create()",
        "--worker-class=runtime.web_worker.Worker",
        "--workers=2",
        "--worker-connections=400",
        "--keep-alive=75",
        "--timeout=30",
        "--graceful-timeout=10",
        "--no-control-socket",
        "--forwarder-headers=",  # or a client could name the path's prefix
        "--log-level=warning",
        f"--bind={bind}:{port}",
    )


def worker() -> list[str]:
    """A Celery worker."""
    return _argv(
        "celery",
        "--app=worker.main",
        "--quiet",
        "worker",
        "--pool=prefork",
        "--concurrency=2",
        "--without-gossip",
        "--without-mingle",
        "--loglevel=warning",
    )


def beat() -> list[str]:
    """Celery's timer."""
    return _argv("celery", "--app=worker.main", "--quiet", "beat", "--loglevel=warning")


def sweeper() -> list[str]:
    """The sweeper, which is a command of our own."""
    return _argv("seatsync", "sweeper")


def _argv(program: str, *arguments: str) -> list[str]:
    """The program of this very installation, whatever the PATH says."""
    return [str(_BIN / program), *arguments]
