"""Where Celery finds the app: `celery --app worker.main worker`, `celery --app worker.main beat`."""

from __future__ import annotations

import warnings

from celery.exceptions import SecurityWarning

from domain.errors import SettingsError
from runtime.logs import configure
from runtime.servers import with_existing_servers
from runtime.settings import Settings
from worker.celery_app import SeatSync

configure()
# Celery warns root of code that arrives through the broker as pickle; this service accepts JSON alone.
warnings.filterwarnings("ignore", category=SecurityWarning)
app = SeatSync(with_existing_servers(Settings.from_env()))
try:
    app.wait_for_database()
except SettingsError as error:
    raise SystemExit(error.message) from None
