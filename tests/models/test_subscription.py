"""Locked subscriptions: loaded and saved through the driver, column by column as the ORM would."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from models import subscription
from models.subscription import Subscription
from runtime.wiring import Runtime

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)

# A value for each column that a transaction may change.
VALUES: dict[str, Any] = {
    "account_id": None,
    "linked_by": None,
    "refused_accounts": ["acme", "with, a comma"],
    "checkout_nonce": "nonce",
    "synced": 3,
    "fence": 8,
    "lease_until": NOW,
    "attempts": 2,
    "last_error": 'It\'s "quoted".',
    "refused_since": NOW,
    "snapshot": {"product_id": "pdt", "addons": None},
    "unverified": {"product_id": "pdt_2"},
    "verified_at": NOW,
    "seats": {"full": {"included": "unlimited", "addon": 10}},
    "status": "active",
    "paid_seats": {},
    "gone_at": None,
}


def insert(runtime: Runtime, *ids: str) -> None:
    with runtime.sessions.begin() as session:
        for name in ids:
            session.execute(text("INSERT INTO subscriptions (id, hint) VALUES (:id, 5)"), {"id": name})


def stored(runtime: Runtime, name: str = "sub_1") -> Subscription:
    with runtime.sessions() as session:
        return session.get_one(Subscription, name)


def test_every_value_that_is_saved_is_loaded_again(runtime: Runtime):
    insert(runtime, "sub_1")
    with runtime.sessions.begin() as session:
        (locked,) = subscription.lock(session, [], "sub_1")
        for name, value in VALUES.items():
            setattr(locked, name, value)
        subscription.save(session, locked)
    with runtime.sessions() as session:
        (locked,) = subscription.lock(session, [], "sub_1")
    for found in (stored(runtime), locked):
        assert {name: getattr(found, name) for name in VALUES} == VALUES


def test_a_column_that_was_not_changed_keeps_what_another_statement_wrote(runtime: Runtime):
    insert(runtime, "sub_1")
    with runtime.sessions.begin() as session:
        (locked,) = subscription.lock(session, [], "sub_1")
        locked.last_error = "changed"
        session.execute(text("UPDATE subscriptions SET hint = 6, attempts = 7"))
        subscription.save(session, locked)
    found = stored(runtime)
    assert (found.hint, found.attempts, found.last_error) == (6, 7, "changed")


def test_without_a_change_nothing_is_written(runtime: Runtime):
    insert(runtime, "sub_1")
    with runtime.sessions.begin() as session:
        row_version = session.scalar(text("SELECT xmin::text FROM subscriptions"))
        (locked,) = subscription.lock(session, [], "sub_1")
        subscription.save(session, locked)
        assert session.scalar(text("SELECT xmin::text FROM subscriptions")) == row_version


def test_the_subscriptions_of_the_accounts_and_the_one_asked_for_are_locked_by_id(runtime: Runtime):
    insert(runtime, "sub_3", "sub_1", "sub_2", "sub_4")
    with runtime.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO accounts (id, status, policy, hold, seats, catalog_digest) "
                "VALUES ('acme', 'ok', 'strict', '7 days', '{}', '')"
            )
        )
        placed = (
            "UPDATE subscriptions SET account_id = 'acme', linked_by = 'app' WHERE id IN ('sub_3', 'sub_1')"
        )
        session.execute(text(placed))
    with runtime.sessions.begin() as session:
        assert [one.id for one in subscription.lock(session, ["acme"], "sub_2")] == [
            "sub_1",
            "sub_2",
            "sub_3",
        ]
        assert [one.id for one in subscription.lock(session, ["acme"])] == ["sub_1", "sub_3"]
