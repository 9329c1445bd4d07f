"""Reading seats: the document, from the cache or the database, and `may I add this person?`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from flask import Response

from models import account, subscription
from models.api_key import Scope
from services.ledger import claims
from services.ledger.can_add import may_add
from services.reports import seats_document
from services.reports.seats_document import SeatsPage
from webhook_app import problems
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.responses import KEYED, answer, conditional, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath, SubscriptionPath
from webhook_app.schemas.seats import CanAdd, CanAddQuery, SeatsDocument, SeatsQuery

seats_api = Routes("seats", tag="Seats")

# Twice the time within which every subscription is looked at: one missed turn is no alarm yet.
_STALE_AFTER_TURNS: Final = 2


@seats_api.get(
    "/v1/accounts/<account_id>/seats",
    summary="The account's seats, now or at a time before",
    description="With `at` from the audit, which knows neither versions nor billing dates: these are null "
    "then, and there is no ETag.",
    responses={**responses(SeatsDocument, *KEYED, 404), "304": None},
)
@needs(Scope.READ)
def account_seats(path: AccountPath, query: SeatsQuery) -> Response:
    if query.at is not None:
        return _as_it_was(path.account_id, query.at)
    page = _document(path.account_id)
    return conditional(page.body, page.etag)


@seats_api.get(
    "/v1/subscriptions/<subscription_id>/seats",
    summary="The seats of the account that the subscription belongs to",
    responses={**responses(SeatsDocument, *KEYED, 404), "304": None},
)
@needs(Scope.READ)
def subscription_seats(path: SubscriptionPath) -> Response:
    cache = app_context().runtime.cache
    remembered = cache.account_of(path.subscription_id)
    if remembered is not None:
        page = _document(remembered)
        if seats_document.names(page.body, path.subscription_id):
            return conditional(page.body, page.etag)
    with app_context().priority_runtime.sessions() as session:  # it was never asked for, or it has moved
        account_id = subscription.account_of(session, path.subscription_id)
    cache.note_account(path.subscription_id, account_id)
    page = _document(account_id)
    return conditional(page.body, page.etag)


@seats_api.get(
    "/v1/accounts/<account_id>/can-add",
    summary="May so many more people of a role be added?",
    responses=responses(CanAdd, *KEYED, 404),
)
@needs(Scope.READ)
def can_add(path: AccountPath, query: CanAddQuery) -> Response:
    runtime = app_context().runtime
    with runtime.sessions() as session:
        told = may_add(session, path.account_id, query.role, query.count, runtime.catalog)
    nothing = dict.fromkeys(("seat_type", "purchased", "used", "available", "overage"))
    return answer(
        {
            "allowed": told.decision.granted,
            "code": told.decision.code,
            "message": told.decision.message,
            "account_id": path.account_id,
            "role": query.role,
            "count": query.count,
            **nothing,
            **claims.figures(told.seat_type, told.balance),
        }
    )


def _document(account_id: str) -> SeatsPage:
    """From the cache if it is there, else from the database, which then fills the cache."""
    runtime = app_context().priority_runtime
    kept = runtime.cache.get(account_id)
    if kept is not None and seats_document.is_of(kept.document, account_id):
        return seats_document.finished(account_id, kept.version, kept.document)
    stale_after = timedelta(hours=runtime.settings.verify_hours * _STALE_AFTER_TURNS)
    with runtime.sessions() as session:
        document = seats_document.read(session, account_id, runtime.catalog, stale_after=stale_after)
    shadow = seats_document.page({**document, "source": "cache"})
    runtime.cache.fill(account_id, document["version"], shadow.body)
    return seats_document.page(document)


def _as_it_was(account_id: str, moment: datetime) -> Response:
    """From the audit; what is to come is not written down there."""
    with app_context().runtime.sessions() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        if moment > account.now(session):
            return problems.invalid([problems.Fault("at", "is in the future")])
        return answer(seats_document.read_at(session, account_id, moment))
