"""Where Celery finds the app: `celery --app worker.main worker`, `celery --app worker.main beat`."""

from __future__ import annotations

import warnings

from celery.exceptions import SecurityWarning

from models.session import connect, sessions_of
from runtime import installation, schema
from runtime.logs import configure
from runtime.servers import with_existing_servers
from runtime.settings import Settings
from seats.errors import SettingsError
from worker.celery_app import SeatSync

configure()
# Celery warns root of code that arrives through the broker as pickle; this service accepts JSON alone.
warnings.filterwarnings("ignore", category=SecurityWarning)


def _made(settings: Settings) -> SeatSync:
    """The app, on a database that has what this release needs, and that belongs to these settings."""
    engine = connect(str(settings.database_url), pool_size=1, application="seatsync-start")
    try:
        schema.require(sessions_of(engine))
        installation.claim(sessions_of(engine), settings)
    except SettingsError as error:
        raise SystemExit(error.message) from None
    finally:
        engine.dispose()
    made = SeatSync(settings)
    made.take_names(wait=True)
    return made


app = _made(with_existing_servers(Settings.from_env()))
