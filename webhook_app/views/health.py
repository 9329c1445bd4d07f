"""Health: liveness, readiness, metrics. All figures come from the database, so any process can answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from flask import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import SettingsError
from models import generation, sync_queue
from models.generation import GenerationState
from runtime import installation, schema
from services.reports import service_health
from services.reports.service_health import ServiceHealth
from webhook_app import problems
from webhook_app.auth import public
from webhook_app.context import app_context
from webhook_app.responses import json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.operators import Alive, Readiness
from worker import broker

health = Routes("health", tag="Health", is_public=True)

# Events wait for seconds; one that has waited this long says that no worker works, or that the
# provider is away.
_TOO_OLD: Final = timedelta(minutes=5)
# A subscription that is due is touched within seconds, by a worker or by the sweeper.
_UNTOUCHED_TOO_LONG: Final = timedelta(minutes=1)
_METRICS: Final[dict[str, Any]] = {
    "description": "All figures come from the database, so any process can tell them.",
    "content": {CONTENT_TYPE_PLAIN_0_0_4: {"schema": {"type": "string"}}},
}


@health.get(
    "/healthz",
    summary="The process answers; nothing else is asked",
    responses=responses(Alive),
)
@public
def alive() -> Response:
    return json_response({"status": "ok"})


@health.get(
    "/readyz",
    summary="Database, broker and the age of the oldest unprocessed event",
    description="Without the broker deliveries are still taken and worked off, so only the database decides: "
    "503 while it is away, not migrated, or another mode's or business's. An event that has waited for "
    "minutes is a warning, `lagging`, and so is a subscription that has been due for a minute and was "
    "touched by no worker; all ages are by the database's clock. `outdated`: a newer catalogue or release is "
    "in force, so this process evaluates no accounts and should be restarted with that one; its other calls "
    "work as before.",
    responses=responses(Readiness, 503),
)
@public
def ready() -> Response:
    runtime = app_context().runtime
    try:
        with runtime.sessions() as session:
            revision = schema.revision_of(session)
            if schema.is_behind(revision):
                return _not_migrated(revision)
            installation.check_in(session, runtime.settings)
            waited = service_health.oldest_unprocessed(session)
            untouched = sync_queue.longest_overdue(session)
            found = generation.state_of(session, runtime.catalog)
    except SQLAlchemyError:
        return problems.response(
            HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "The database is away.", {"database": "away"}
        )
    except SettingsError as error:
        return problems.response(
            HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", error.message, {"database": "not_ours"}
        )
    return json_response(
        {
            "status": _status(waited, untouched, found),
            "database": "ok",
            "schema": revision,
            "generation": found.newest,
            "evaluates": found.may_evaluate,
            "broker": "ok" if broker.answers(runtime.settings.broker_url) else "away",
            "oldest_unprocessed_seconds": round(waited.total_seconds(), 3),
            "longest_untouched_seconds": round(untouched.total_seconds(), 3),
        }
    )


def _status(waited: timedelta, untouched: timedelta, found: GenerationState) -> str:
    if found.was_replaced:
        return "outdated"
    return "lagging" if waited >= _TOO_OLD or untouched >= _UNTOUCHED_TOO_LONG else "ready"


def _not_migrated(revision: str | None) -> Response:
    return problems.response(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not_ready",
        f"The database's schema is at revision {revision or 'none'}, and this release needs "
        f"{schema.newest()}. Run `seatsync migrate`.",
        {"database": "not_migrated", "schema": revision},
    )


@health.get(
    "/metrics",
    summary="Prometheus metrics",
    responses={**responses(None, 503), "200": _METRICS},
)
@public
def metrics() -> Response:
    registry = CollectorRegistry()
    with app_context().runtime.sessions() as session:
        registry.register(_Gauges(service_health.read(session)))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Gauges(Collector):
    def __init__(self, now: ServiceHealth) -> None:
        self._now = now

    def collect(self) -> Iterable[Metric]:
        now = self._now
        yield _by_label("seatsync_inbox_events", "Deliveries kept, by state", "state", now.inbox)
        yield _by_label("seatsync_accounts", "Accounts, by status", "status", now.accounts)
        yield _by_label(
            "seatsync_drift_findings", "Drift findings that stand, by state", "state", now.findings
        )
        yield _by_label(
            "seatsync_drift_found_in_a_day",
            "Drift findings of the last 24 hours, by likely cause; none is what to expect",
            "cause",
            now.causes_of_a_day,
        )
        for name, help_text, value in (
            ("subscriptions_waiting", "Subscriptions to be looked at", now.subscriptions_waiting),
            ("subscriptions_dead", "Subscriptions given up on", now.subscriptions_dead),
            ("oldest_unprocessed_seconds", "Age of the oldest waiting event", now.oldest_unprocessed_seconds),
            ("oldest_unverified_seconds", "Age of the oldest verification", now.oldest_unverified_seconds),
        ):
            yield GaugeMetricFamily(f"seatsync_{name}", help_text, value=value)


def _by_label(name: str, help_text: str, label: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
