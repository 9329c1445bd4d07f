"""Where Celery finds the app: `celery --app worker.main worker`, `celery --app worker.main beat`."""

from __future__ import annotations

from runtime.logs import configure
from runtime.servers import with_running_servers
from runtime.settings import Settings
from worker.celery_app import SeatSync

configure()
app = SeatSync(with_running_servers(Settings.from_env()))
app.take_names(wait=True)
