"""The Celery app of the command line, as in `celery --app worker.main worker` (or `beat`)."""

from __future__ import annotations

import warnings

from celery.exceptions import SecurityWarning
from celery.signals import worker_process_init

from domain.errors import SettingsError
from runtime import garbage
from runtime.logs import configure
from runtime.servers import with_existing_servers
from runtime.settings import Settings
from worker.celery_app import SeatSync

configure()
# Celery warns root that pickled messages can run code; this service accepts JSON only.
warnings.filterwarnings("ignore", category=SecurityWarning)
app = SeatSync(with_existing_servers(Settings.from_env()))
try:
    app.wait_for_database()
except SettingsError as error:
    raise SystemExit(error.message) from None


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery is not typed
def tune_child(**_: object) -> None:
    """Runs at the start of each child process."""
    garbage.exclude_present_objects()
    garbage.collect_rarely()
