"""The entry point for a WSGI server: `gunicorn 'webhook_app.main:create()'`."""

from __future__ import annotations

from flask import Flask

from runtime import garbage, installation, schema
from runtime.logs import configure
from runtime.servers import with_existing_servers
from runtime.settings import Settings
from runtime.wiring import build
from webhook_app.app import create_app
from worker.celery_app import SeatSync
from worker.wake_ups import WakeUps

# Fewer than concurrent requests: a request holds a connection only while it uses the database. All are kept
# open: under load, a pool with an overflow opens a new connection for many of the requests, which costs more
# than the request itself.
_CONNECTIONS = 12
# Used only by deliveries and by reads of seats.
_RESERVED_CONNECTIONS = 8
# In seconds. Wake-ups are sent from a thread of their own, which a hung broker must not block for long.
_BROKER_PATIENCE = 1.0


def create() -> Flask:
    """Build the app from the environment variables. Called once in each server process."""
    configure()
    settings = with_existing_servers(Settings.from_env())
    runtime = build(settings, pool_size=_CONNECTIONS, max_overflow=0, application="seatsync-web")
    reserved = build(settings, pool_size=_RESERVED_CONNECTIONS, max_overflow=0, application="seatsync-web")
    schema.require(runtime.sessions)
    for connected in (runtime, reserved):
        installation.bind(connected.sessions, settings)
    wake_ups = WakeUps(SeatSync(settings, patience=_BROKER_PATIENCE).publish)
    app = create_app(runtime, wake_ups, reserved)
    garbage.exclude_present_objects()
    return app
