"""The processes of the service, as started by `seatsync up` and `seatsync demo`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cli import process_arguments
from runtime.settings import Settings
from runtime.supervisor import Command


def commands(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[Command]:
    """The commands for web, both workers, beat and sweeper, which use the servers of these settings."""
    env = {
        **environment,
        **process_arguments.ENVIRONMENT,
        "DATABASE_URL": str(settings.database_url),
        "REDIS_URL": str(settings.redis_url),
    }
    return [
        Command("web", process_arguments.web(settings.bind, settings.port), env),
        Command("worker", process_arguments.worker(), env),
        Command("syncs", process_arguments.worker(only_syncs=True), env),
        Command("beat", process_arguments.beat(), env),
        Command("sweeper", process_arguments.sweeper(), env),
    ]
