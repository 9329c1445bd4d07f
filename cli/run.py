"""Commands that a process manager runs: migrate before a release, sweep beside the workers."""

from __future__ import annotations

import click

import migrations
from cli.connections import name_embedded_database, read_settings, servers
from models.session import connect
from runtime.logs import configure
from runtime.servers import running_servers
from runtime.settings import Settings
from runtime.wiring import build
from worker.celery_app import SeatSync
from worker.sweep import Sweep
from worker.sweeper import run


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    settings = read_settings()
    with running_servers(settings) as running:
        name_embedded_database(settings)
        migrate_to_head(running)
    click.echo("The database is up to date.")


def migrate_to_head(settings: Settings) -> None:
    """Every migration that is not there yet, once, whoever asks."""
    engine = connect(str(settings.database_url), application="seatsync-migrate")
    try:
        migrations.upgrade(engine)
    finally:
        engine.dispose()


@click.command()
def sweeper() -> None:
    """Ring for every row that is due, and work it off here while the broker is away."""
    configure()
    with servers() as settings:
        runtime = build(settings, pool_size=2, application="seatsync-sweeper")
        app = SeatSync(settings)
        run(
            Sweep(runtime, app.publish, app.announce, app.ring_for_reconcile, app.ring_for_changes),
            settings.sweep_seconds,
        )
        runtime.close()
