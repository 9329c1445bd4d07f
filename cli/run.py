"""Commands that a process manager runs: migrate before a release, sweep beside the workers."""

from __future__ import annotations

import click

import migrations
from cli.connections import name_embedded_database, read_settings, servers
from models import generation
from models.session import connect, sessions_of
from runtime import schema
from runtime.logs import configure
from runtime.servers import running_servers
from runtime.settings import Settings
from runtime.wiring import build, read_catalog
from worker.celery_app import SeatSync
from worker.sweep import Sweep
from worker.sweeper import run


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date, and a catalogue that was replaced back into force."""
    settings = read_settings()
    with running_servers(settings) as running:
        name_embedded_database(settings)
        is_back = migrate_to_head(running)
    click.echo("The database is up to date.")
    if is_back:
        click.echo(
            "This catalogue was in force before and is again: processes with another one stop evaluating."
        )


def migrate_to_head(settings: Settings) -> bool:
    """Every migration that is not there yet, once, whoever asks; whether the catalogue was one that had been
    replaced, and is in force again.
    """
    catalog = read_catalog(settings)
    engine = connect(str(settings.database_url), application="seatsync-migrate")
    try:
        migrations.upgrade(engine)
        with sessions_of(engine).begin() as session:
            return generation.put_in_force(session, catalog)
    finally:
        engine.dispose()


@click.command()
def sweeper() -> None:
    """Ring for every row that is due, and work it off here while the broker is away."""
    configure()
    with servers() as settings:
        runtime = build(settings, pool_size=2, application="seatsync-sweeper")
        schema.require(runtime.sessions)
        app = SeatSync(settings)
        run(
            Sweep(runtime, app.publish, app.announce, app.ring_for_reconcile, app.ring_for_changes),
            settings.sweep_seconds,
        )
        runtime.close()
