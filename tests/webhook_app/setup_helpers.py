"""Steps that prepare the database before a test of the API."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from models import api_key, sync_queue
from models.api_key import Scope
from runtime.wiring import Runtime
from services.ledger import accounts, claims, subscriptions
from services.ledger.claims import ClaimRequest
from tests.factories import a_cause, a_snapshot


def bought(runtime: Runtime, **changes) -> None:
    """Store a subscription with these values, as a sync would."""
    snapshot = a_snapshot(**changes)
    with runtime.transaction() as session:
        sync_queue.raise_hint(session, snapshot.subscription_id)
        lease = sync_queue.lease(session, [snapshot.subscription_id], timedelta(seconds=10))[0]
        subscriptions.apply(session, lease, snapshot, runtime.catalog, a_cause())


def opened(runtime: Runtime, *account_ids: str) -> None:
    """Open these accounts, as the app would."""
    with runtime.sessions.begin() as session:
        for account_id in account_ids:
            accounts.open_account(session, account_id, runtime.catalog, a_cause())


def claimed(runtime: Runtime, *members: str, account_id: str = "acme", **options) -> None:
    """Claim a seat for each member."""
    for member_id in members:
        with runtime.transaction() as session:
            request = ClaimRequest(member_id=member_id, **{"role": "member", **options})
            claims.claim(session, account_id, request, runtime.catalog, a_cause())


def key_with(runtime: Runtime, *scopes: Scope) -> str:
    with runtime.sessions.begin() as session:
        return api_key.create(session, "a test", scopes)


def rows(runtime: Runtime, statement: str) -> list:
    """The first value of each row that the query returns."""
    with runtime.sessions() as session:
        return list(session.scalars(text(statement)))


def run_sql(runtime: Runtime, statement: str) -> None:
    """Change rows directly, for example to simulate that time has passed."""
    with runtime.sessions.begin() as session:
        session.execute(text(statement))
