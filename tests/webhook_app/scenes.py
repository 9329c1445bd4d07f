"""What has happened before a test begins."""

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
    """The provider was asked, and this is what it said."""
    snapshot = a_snapshot(**changes)
    with runtime.transaction() as session:
        sync_queue.raise_hint(session, snapshot.subscription_id)
        lease = sync_queue.lease(session, snapshot.subscription_id, timedelta(seconds=10))
        subscriptions.apply(session, lease, snapshot, runtime.catalog, a_cause())


def opened(runtime: Runtime, *account_ids: str) -> None:
    """The app has created these accounts."""
    with runtime.sessions.begin() as session:
        for account_id in account_ids:
            accounts.open_account(session, account_id, runtime.catalog, a_cause())


def seated(runtime: Runtime, *members: str, account_id: str = "acme", **wish) -> None:
    for member_id in members:
        with runtime.transaction() as session:
            wanted = ClaimRequest(member_id=member_id, **{"role": "member", **wish})
            claims.claim(session, account_id, wanted, runtime.catalog, a_cause())


def key_with(runtime: Runtime, *scopes: Scope) -> str:
    with runtime.sessions.begin() as session:
        return api_key.create(session, "a test", scopes)


def rows(runtime: Runtime, statement: str) -> list:
    """What a query gives, one value a row."""
    with runtime.sessions() as session:
        return list(session.scalars(text(statement)))


def changed(runtime: Runtime, statement: str) -> None:
    """Time has passed, or somebody has put a hand in."""
    with runtime.sessions.begin() as session:
        session.execute(text(statement))
