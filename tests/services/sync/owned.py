"""Helpers for tests of ownership: what the provider sells, and which account the service links it to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from domain.ownership import PROOF_KEY, sign
from models import installation, sync_queue
from models.account import Account
from models.drift_finding import DriftFinding
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.ledger import links
from services.sync.subscription import sync
from tests.factories import a_catalog, a_cause, a_snapshot
from tests.fakes import FakeProvider

NAMES_ACME = {"account_id": "acme"}


class Owned:
    """The service over a provider that sells to many customers."""

    def __init__(self, runtime: Runtime, provider: FakeProvider, **defaults: object) -> None:
        self.runtime = replace(runtime, catalog=replace(a_catalog(), **defaults))
        self.provider = provider

    def sells(self, subscription_id: str, customer: str | None, metadata: Any, **fields: Any) -> None:
        """The provider has the subscription from now on, and it is synced."""
        self.provider.subscriptions[subscription_id] = a_snapshot(
            subscription_id, customer_id=customer, metadata=metadata, **fields
        )
        self.sync_now(subscription_id)

    def shows(self, subscription_id: str, **fields: Any) -> None:
        """The provider changes the subscription, and it is synced."""
        shown = replace(self.provider.subscriptions[subscription_id], **fields)
        self.provider.subscriptions[subscription_id] = shown
        self.sync_now(subscription_id)

    def sync_now(self, subscription_id: str) -> None:
        with self.runtime.sessions.begin() as session:
            sync_queue.raise_hint(session, subscription_id)
        sync(self.runtime, subscription_id)

    def signed(self, account_id: str) -> Mapping[str, str]:
        """The metadata that our checkout gives a subscription."""
        with self.runtime.sessions.begin() as session:
            secret = installation.checkout_secret(session)
        return {"account_id": account_id, PROOF_KEY: sign(secret, account_id)}

    def link(self, account_id: str, subscription_id: str) -> bool:
        with self.runtime.transaction() as session:
            return links.link(session, account_id, subscription_id, self.runtime.catalog, a_cause())

    def unlink(self, account_id: str, subscription_id: str) -> bool:
        with self.runtime.transaction() as session:
            return links.unlink(session, account_id, subscription_id, self.runtime.catalog, a_cause())

    def row(self, subscription_id: str) -> Subscription:
        with self.runtime.sessions() as session:
            return session.get_one(Subscription, subscription_id)

    def owner(self, subscription_id: str) -> tuple[str | None, str | None]:
        row = self.row(subscription_id)
        return row.account_id, row.linked_by

    def seats(self, account_id: str) -> int:
        with self.runtime.sessions() as session:
            full = session.get_one(Account, account_id).seats.get("full", {"included": 0, "addon": 0})
        return full["included"] + full["addon"]

    def findings(self, subscription_id: str, *, state: str = "held") -> list[str]:
        """The kinds of what stands."""
        wanted = select(DriftFinding.kind).where(
            DriftFinding.subject == subscription_id, DriftFinding.state == state
        )
        with self.runtime.sessions() as session:
            return list(session.scalars(wanted.order_by(DriftFinding.id)))

    @property
    def accounts(self) -> set[str]:
        with self.runtime.sessions() as session:
            return set(session.scalars(select(Account.id)))
