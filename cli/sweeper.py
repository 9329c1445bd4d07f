"""The command `seatsync sweeper`: run the sweep periodically."""

from __future__ import annotations

from contextlib import closing

import click

from cli.connections import servers
from runtime import installation, schema
from runtime.logs import configure
from runtime.wiring import build
from worker.celery_app import SeatSync
from worker.sweep import Sweep
from worker.sweeper import run


@click.command()
def sweeper() -> None:
    """Wake workers for all due rows, and process them here while the broker is unreachable."""
    configure()
    with (
        servers() as settings,
        closing(build(settings, pool_size=2, application="seatsync-sweeper")) as runtime,
    ):
        schema.require(runtime.sessions)
        installation.bind(runtime.sessions, settings)
        app = SeatSync(settings)
        run(
            Sweep(runtime, app.publish, app.wake_notices, app.wake_reconcile, app.wake_changes),
            settings.sweep_seconds,
        )
