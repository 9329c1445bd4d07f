"""Where Celery finds the app: `celery --app worker.main worker`, `celery --app worker.main beat`."""

from __future__ import annotations

import warnings

from celery.exceptions import SecurityWarning
from celery.signals import worker_init

from runtime import installation, schema
from runtime.logs import configure
from runtime.servers import with_existing_servers
from runtime.settings import Settings
from runtime.wiring import build
from seats.errors import SettingsError
from worker.celery_app import SeatSync

configure()
# Celery warns root of code that arrives through the broker as pickle; this service accepts JSON alone.
warnings.filterwarnings("ignore", category=SecurityWarning)
app = SeatSync(with_existing_servers(Settings.from_env()))
app.take_names(wait=True)


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery is not typed
def _check_schema(**_: object) -> None:
    """Do not start on a database that lacks what is needed. Celery swallows anything but an exit here."""
    runtime = build(app.settings, pool_size=1, application="seatsync-worker")
    try:
        schema.require(runtime.sessions)
        installation.claim(runtime.sessions, app.settings)
    except SettingsError as error:
        raise SystemExit(error.message) from None
    finally:
        runtime.close()
