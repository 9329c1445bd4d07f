"""The processes of a running service, as `seatsync up` and the Procfile start them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from runtime.settings import Settings
from runtime.supervisor import Command

_BIN = Path(sys.executable).parent
WEB = (
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
)
WORKER = (
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
BEAT = ("celery", "--app=worker.main", "--quiet", "beat", "--loglevel=warning")
SWEEPER = ("seatsync", "sweeper")


def commands(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[Command]:
    """Web, worker, beat and sweeper on the servers of these settings."""
    env = {
        **environment,
        "DATABASE_URL": str(settings.database_url),
        "REDIS_URL": str(settings.redis_url),
        # SIGTERM then ends a worker softly: what runs may finish, the rest goes back to the queue.
        "REMAP_SIGTERM": "SIGQUIT",
        "PYTHONUNBUFFERED": "1",
    }
    return [
        Command("web", _argv(*WEB, f"--bind={settings.bind}:{settings.port}"), env),
        Command("worker", _argv(*WORKER), env),
        Command("beat", _argv(*BEAT), env),
        Command("sweeper", _argv(*SWEEPER), env),
    ]


def _argv(program: str, *arguments: str) -> list[str]:
    """The program of this very installation, whatever the PATH says."""
    return [str(_BIN / program), *arguments]
