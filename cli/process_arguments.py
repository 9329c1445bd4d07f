"""The command lines of the service's processes, defined only here.

`seatsync up` starts them as child processes. `seatsync web`, `worker` and `beat` replace themselves with
them. This module imports nothing slow.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_BIN: Final = Path(sys.executable).parent

ENVIRONMENT: Final[Mapping[str, str]] = {
    # On SIGTERM, a worker finishes its running tasks and returns the others to the queue.
    "REMAP_SIGTERM": "SIGQUIT",
    "PYTHONUNBUFFERED": "1",
}
"""Environment variables that each process gets in addition to the settings."""


def web(bind: str, port: int | str) -> list[str]:
    """The web server gunicorn, listening on this address and port."""
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
        "--forwarder-headers=",  # otherwise a client could set the prefix of the path
        "--log-level=warning",
        f"--bind={bind}:{port}",
    )


def worker(*, only_syncs: bool = False) -> list[str]:
    """A Celery worker: of both queues with two children, or of the syncs with one."""
    return _argv(
        "celery",
        "--app=worker.main",
        "--quiet",
        "worker",
        "--pool=prefork",
        f"--concurrency={1 if only_syncs else 2}",
        # So that the two kinds have different names on one host.
        *(("--queues=syncs", "--hostname=syncs@%h") if only_syncs else ()),
        "--without-gossip",
        "--without-mingle",
        "--loglevel=warning",
    )


def beat() -> list[str]:
    """Celery beat, which starts periodic tasks."""
    return _argv("celery", "--app=worker.main", "--quiet", "beat", "--loglevel=warning")


def sweeper() -> list[str]:
    """The command `seatsync sweeper`."""
    return _argv("seatsync", "sweeper")


def _argv(program: str, *arguments: str) -> list[str]:
    """The arguments with the absolute path of this installation's program, whatever PATH is."""
    return [str(_BIN / program), *arguments]
