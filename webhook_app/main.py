"""Where a WSGI server finds the app: `gunicorn 'webhook_app.main:create()'`, in each of its processes."""

from __future__ import annotations

import gc

from flask import Flask

from runtime import installation, schema
from runtime.logs import configure
from runtime.servers import with_existing_servers
from runtime.settings import Settings
from runtime.wiring import build
from webhook_app.app import create_app
from worker.celery_app import SeatSync
from worker.wake_ups import WakeUps

# Far fewer than requests at once: a request holds a connection only while it speaks to the database.
_CONNECTIONS = 8
# For deliveries and reads of seats alone.
_RESERVED_CONNECTIONS = 4
# Nobody waits for the wake_ups's thread, but a hung broker must not hold it for long either.
_BROKER_PATIENCE = 1.0


def create() -> Flask:
    """The app from the environment."""
    configure()
    settings = with_existing_servers(Settings.from_env())
    runtime = build(settings, pool_size=_CONNECTIONS, application="seatsync-web")
    reserved = build(settings, pool_size=_RESERVED_CONNECTIONS, application="seatsync-web")
    schema.require(runtime.sessions)
    for one in (runtime, reserved):
        installation.claim(one.sessions, settings)
    wake_ups = WakeUps(SeatSync(settings, patience=_BROKER_PATIENCE).publish)
    app = create_app(runtime, wake_ups, reserved)
    # What the app is made of is never garbage: looking through it stops every request for 0.1 seconds.
    gc.collect()
    gc.freeze()
    return app
