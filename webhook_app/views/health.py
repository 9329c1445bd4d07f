"""Health checks: liveness, readiness, metrics. Figures come from the database, so any process can answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from flask import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import PoolerMisused, SettingsError
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

# Events are normally processed within seconds. An older one means that no worker is running, or that the
# provider is unreachable.
_EVENT_TOO_OLD: Final = timedelta(minutes=5)
# A due subscription is normally leased within seconds, by a worker or by the sweeper.
_SUBSCRIPTION_TOO_LATE: Final = timedelta(minutes=1)
_METRICS: Final[dict[str, Any]] = {
    "description": "All figures come from the database, so any process reports the same ones.",
    "content": {CONTENT_TYPE_PLAIN_0_0_4: {"schema": {"type": "string"}}},
}


@health.get(
    "/healthz",
    summary="Liveness: the process answers",
    responses=responses(Alive),
)
@public
def alive() -> Response:
    return json_response({"status": "ok"})


@health.get(
    "/readyz",
    summary="Readiness: database, broker and processing lag",
    description="503 while the service cannot work with the database; the problem's `database` says why. "
    "`away`: unreachable. `not_migrated`: older than this release. `not_ours`: it belongs to another mode or "
    "business. `pooler_misused`: reached through a connection pooler that loses time limits or locks. A "
    "missing broker is only reported, since deliveries are stored and processed without it. `lagging` is a "
    "warning: an event has been unprocessed for five minutes, or a subscription has been due for a minute "
    "and no worker has leased it (ages by the database clock). `outdated`: a newer catalogue or release is "
    "in force, so this process evaluates no accounts; restart it with the newer one. Its other calls work as "
    "before.",
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
            lag = _Lag(service_health.oldest_unprocessed(session), sync_queue.longest_overdue(session))
            in_force = generation.state_of(session, runtime.catalog)
    except SQLAlchemyError:
        return _not_ready("The database is unreachable.", {"database": "away"})
    except PoolerMisused as error:
        return _not_ready(error.message, {"database": "pooler_misused"})
    except SettingsError as error:
        return _not_ready(error.message, {"database": "not_ours"})
    return json_response(
        {
            "status": _status(lag, in_force),
            "database": "ok",
            "schema": revision,
            "generation": in_force.newest,
            "evaluates": in_force.may_evaluate,
            "broker": "ok" if broker.answers(runtime.settings.broker_url) else "away",
            "oldest_unprocessed_seconds": round(lag.event.total_seconds(), 3),
            "longest_untouched_seconds": round(lag.subscription.total_seconds(), 3),
        }
    )


@dataclass(frozen=True, slots=True)
class _Lag:
    """Age of the oldest unprocessed event, and how long the most overdue subscription was left alone."""

    event: timedelta
    subscription: timedelta

    @property
    def is_too_long(self) -> bool:
        return self.event >= _EVENT_TOO_OLD or self.subscription >= _SUBSCRIPTION_TOO_LATE


def _status(lag: _Lag, in_force: GenerationState) -> str:
    if in_force.was_replaced:
        return "outdated"
    return "lagging" if lag.is_too_long else "ready"


def _not_migrated(revision: str | None) -> Response:
    return _not_ready(
        f"The database schema is at revision {revision or 'none'}, and this release needs "
        f"{schema.newest()}. Run `seatsync migrate`.",
        {"database": "not_migrated", "schema": revision},
    )


def _not_ready(detail: str, further: dict[str, str | None]) -> Response:
    return problems.response(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", detail, further)


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
    def __init__(self, current: ServiceHealth) -> None:
        self._current = current

    def collect(self) -> Iterable[Metric]:
        current = self._current
        yield _by_label(
            "seatsync_inbox_events", "Deliveries that need work, by state", "state", current.inbox
        )
        yield CounterMetricFamily(
            "seatsync_inbox_accepted", "Deliveries accepted in all", value=current.deliveries.accepted
        )
        yield CounterMetricFamily(
            "seatsync_inbox_ignored",
            "Deliveries that were ignored on arrival, in all",
            value=current.deliveries.ignored,
        )
        yield _by_label(
            "seatsync_accounts", "Accounts, by status, counted once a minute", "status", current.accounts
        )
        yield _by_label(
            "seatsync_drift_findings", "Unresolved drift findings, by state", "state", current.findings
        )
        yield _by_label(
            "seatsync_drift_found_in_a_day",
            "Drift findings of the last 24 hours, by likely cause; normally none",
            "cause",
            current.causes_of_a_day,
        )
        yield _single(
            "seatsync_subscriptions_waiting", "Subscriptions due for a sync", current.subscriptions_waiting
        )
        yield _single(
            "seatsync_subscriptions_dead",
            "Subscriptions that are dead letters: their sync was given up",
            current.subscriptions_dead,
        )
        yield _single(
            "seatsync_oldest_unprocessed_seconds",
            "Age of the oldest unprocessed event",
            current.oldest_unprocessed_seconds,
        )
        yield _single(
            "seatsync_oldest_unverified_seconds",
            "Time since the verification of a subscription that is longest ago",
            current.oldest_unverified_seconds,
        )


def _single(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _by_label(name: str, help_text: str, label: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
