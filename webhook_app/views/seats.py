"""Reads seats: the seats document, from the cache or the database, and whether people can be added."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from flask import Response

from models import subscription
from models.api_key import Scope
from services.ledger import claims
from services.ledger.can_add import may_add
from services.reports import seats_document
from services.reports.seats_document import SeatsPage
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.past import past_response
from webhook_app.responses import KEYED, conditional_response, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath, SubscriptionPath
from webhook_app.schemas.seats import CanAdd, CanAddQuery, SeatsDocument, SeatsQuery

seats_api = Routes("seats", tag="Seats")

# Figures are stale after two verification periods: one missed verification is no reason for an alarm.
_STALE_AFTER_PERIODS: Final = 2


@seats_api.get(
    "/v1/accounts/<account_id>/seats",
    summary="Get the account's seats, now or at an earlier time",
    description="With `at`, the document is computed from the audit, which has no versions and no billing "
    "dates: these are null, and there is no ETag.",
    responses={**responses(SeatsDocument, *KEYED, 404), "304": None},
)
@needs(Scope.READ)
def account_seats(path: AccountPath, query: SeatsQuery) -> Response:
    if query.at is not None:
        at = query.at
        return past_response(at, lambda session: seats_document.read_at(session, path.account_id, at))
    page = _document(path.account_id)
    return conditional_response(page.body, page.etag)


@seats_api.get(
    "/v1/subscriptions/<subscription_id>/seats",
    summary="Get the seats of the account that the subscription belongs to",
    responses={**responses(SeatsDocument, *KEYED, 404), "304": None},
)
@needs(Scope.READ)
def subscription_seats(path: SubscriptionPath) -> Response:
    cache = app_context().runtime.cache
    cached_id = cache.account_of(path.subscription_id)
    if cached_id is not None:
        page = _document(cached_id)
        if seats_document.names(page.body, path.subscription_id):
            return conditional_response(page.body, page.etag)
    with app_context().priority_runtime.sessions() as session:  # not cached, or moved to another account
        account_id = subscription.account_of(session, path.subscription_id)
    cache.note_account(path.subscription_id, account_id)
    page = _document(account_id)
    return conditional_response(page.body, page.etag)


@seats_api.get(
    "/v1/accounts/<account_id>/can-add",
    summary="Check whether people of a role can be added",
    responses=responses(CanAdd, *KEYED, 404),
)
@needs(Scope.READ)
def can_add(path: AccountPath, query: CanAddQuery) -> Response:
    runtime = app_context().runtime
    with runtime.sessions() as session:
        checked = may_add(session, path.account_id, query.role, query.count, runtime.catalog)
    no_figures = dict.fromkeys(("seat_type", "purchased", "used", "available", "overage"))
    return json_response(
        {
            "allowed": checked.decision.granted,
            "code": checked.decision.code,
            "message": checked.decision.message,
            "account_id": path.account_id,
            "role": query.role,
            "count": query.count,
            **no_figures,
            **claims.figures(checked.seat_type, checked.balance),
        }
    )


def _document(account_id: str) -> SeatsPage:
    """The seats document from the cache, or else from the database; then the cache is filled."""
    runtime = app_context().priority_runtime
    cached = runtime.cache.get(account_id)
    if cached is not None and seats_document.is_of(cached.document, account_id):
        return seats_document.finished(account_id, cached.version, cached.document)
    stale_after = timedelta(hours=runtime.settings.verify_hours * _STALE_AFTER_PERIODS)
    with runtime.sessions() as session:
        document = seats_document.read(session, account_id, runtime.catalog, stale_after=stale_after)
    for_cache = seats_document.page({**document, "source": "cache"})
    runtime.cache.fill(account_id, document["version"], for_cache.body)
    return seats_document.page(document)
