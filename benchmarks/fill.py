"""Fills an empty, migrated database with a business of any size, in SQL, for measuring how queries grow."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import make_url

from domain.catalog.model import Catalog
from domain.snapshot import SubscriptionSnapshot
from models.subscription import snapshot_to_json

LARGEST = "largest"
"""The account that has many members; the others are `team-1`, `team-2`, ..."""

# Without triggers and foreign keys, whose checks would take most of the time. Nothing waits for the disk.
_OPTIONS = "-c session_replication_role=replica -c synchronous_commit=off -c maintenance_work_mem=256MB"

_ACCOUNTS = """
    INSERT INTO accounts (id, created_at, status, policy, hold, seats, catalog_digest, version)
    SELECT CASE n WHEN 0 THEN %(largest)s ELSE 'team-' || n END, now() - mod(n, 400) * interval '1 day',
           CASE mod(n, 10) WHEN 6 THEN 'over_limit' WHEN 7 THEN 'grace' WHEN 8 THEN 'suspended'
                           WHEN 9 THEN 'ended' ELSE 'ok' END,
           'strict', '7 days', %(balance)s, %(digest)s, 1
    FROM generate_series(0, %(accounts)s) AS n
"""
# Every fifth account has two. Each was last synced within ten hours.
_SUBSCRIPTIONS = """
    INSERT INTO subscriptions (id, account_id, linked_by, hint, synced, snapshot, verified_at, looked_at,
                               counted_at, counted_product, seats, status, effect, fingerprint)
    SELECT 'sub_' || n, CASE n WHEN 0 THEN %(largest)s ELSE 'team-' || 1 + mod(n, %(accounts)s) END,
           'metadata', 1, 1, %(snapshot)s, at, at, at, 'pdt_team', %(seats)s, 'active', 'counts', md5(n::text)
    FROM generate_series(0, %(accounts)s * 6 / 5) AS n,
         LATERAL (SELECT now() - mod(n * 7919, 1000) / 1000.0 * interval '10 hours' AS at) AS synced
"""
# Ten events per account in 40 days. Every 200th is ignored, every 5,000th dead, the last hundred pending.
_INBOX = """
    INSERT INTO inbox
        (provider, event_id, type, subscription_id, occurred_at, received_at, state, reason, body)
    SELECT 'dodo', 'msg_' || n, 'subscription.updated', 'sub_' || mod(n, %(accounts)s * 6 / 5), at, at, state,
           CASE WHEN state IN ('dead', 'ignored') THEN 'because' END, %(body)s
    FROM generate_series(1, %(accounts)s * 10) AS n,
         LATERAL (SELECT now() - interval '40 days' * (1 - n / (%(accounts)s * 10.0)) AS at) AS received,
         LATERAL (SELECT CASE WHEN mod(n, 5000) = 0 THEN 'dead' WHEN mod(n, 200) = 0 THEN 'ignored'
                              WHEN n > %(accounts)s * 10 - 100 THEN 'pending'
                              ELSE 'done' END AS state) AS event
"""
_AUDIT = """
    INSERT INTO audit (at, account_id, actor, source, reason, event_id, subscription_id, before, after,
                       subject_before, subject_after, hash)
    SELECT now() - interval '400 days' * (1 - n / (%(accounts)s * 20.0)), 'team-' || 1 + mod(n, %(accounts)s),
           'provider:dodo', 'sync', 'retrieved from the provider', 'msg_' || n,
           'sub_' || mod(n, %(accounts)s * 6 / 5), %(facts)s, %(facts)s, %(subject)s, %(subject)s, '\\x00'
    FROM generate_series(1, %(accounts)s * 20) AS n
"""
_AUDIT_HEADS = """
    INSERT INTO audit_heads (account_id, row_id, hash)
    SELECT account_id, max(id), '\\x00' FROM audit GROUP BY account_id
"""
# Ten members per account: six active, sometimes one invited, the others released.
_ASSIGNMENTS = """
    INSERT INTO assignments
        (account_id, member_id, email, role, seat_type, state, claimed_at, expires_at, released_at)
    SELECT 'team-' || 1 + mod(n, %(accounts)s), 'member-' || n, n || '@example.com', 'member', 'full', state,
           now() - interval '200 days', CASE state WHEN 'held' THEN now() + interval '3 days' END,
           CASE state WHEN 'released' THEN now() - mod(n, 200) * interval '1 day' END
    FROM generate_series(1, %(accounts)s * 10) AS n,
         LATERAL (SELECT CASE WHEN mod(n / %(accounts)s, 10) < 6 THEN 'active'
                              WHEN mod(n / %(accounts)s, 10) = 6 AND mod(n, 10) = 0 THEN 'held'
                              ELSE 'released' END AS state) AS seat
"""
_ASSIGNMENTS_OF_THE_LARGEST = """
    INSERT INTO assignments (account_id, member_id, role, seat_type, state, claimed_at, released_at)
    SELECT %(largest)s, 'member-' || n, 'member', 'full',
           CASE mod(n, 4) WHEN 0 THEN 'active' ELSE 'released' END,
           now() - interval '200 days',
           CASE WHEN mod(n, 4) > 0 THEN now() - mod(n, 200) * interval '1 day' END
    FROM generate_series(1, %(largest_members)s) AS n
"""
_NOTICES = """
    INSERT INTO notices (message_id, account_id, type, data, created_at)
    SELECT 'msg_' || n, 'team-' || 1 + mod(n, %(accounts)s), 'seat.over_limit', '{"seat_type": "full"}',
           now() - interval '29 days' * (1 - n / (%(accounts)s * 2.0))
    FROM generate_series(1, %(accounts)s * 2) AS n
"""
# They are kept for more than a year, so that none is sent twice.
_NOTICES_OF_OCCASIONS = """
    INSERT INTO notices (message_id, account_id, type, data, once, created_at)
    SELECT 'msg_of_occasion_' || n, 'team-' || n, 'seat.grace_ending', '{"seat_type": "full"}', n::text,
           now() - (31 + mod(n * 7919, 360)) * interval '1 day'
    FROM generate_series(1, %(accounts)s) AS n
"""
# One per account. Every 20th is scheduled, every fifth was a preview of the last two days.
_CANCELLATIONS = """
    INSERT INTO cancellations (id, account_id, subscription_id, state, kind, created_at, history)
    SELECT 'can_' || n, 'team-' || n, 'sub_' || n - 1, state, 'at_renewal',
           CASE state WHEN 'expired' THEN now() - mod(n, 47) * interval '1 hour'
                      ELSE now() - mod(n, 400) * interval '1 day' END, '[]'
    FROM generate_series(1, %(accounts)s) AS n,
         LATERAL (SELECT CASE WHEN mod(n, 20) = 0 THEN 'scheduled' WHEN mod(n, 5) = 1 THEN 'expired'
                              WHEN mod(n, 5) = 2 THEN 'undone' WHEN mod(n, 5) = 3 THEN 'failed'
                              ELSE 'applied' END AS state) AS cancellation
"""
_FINDINGS = """
    INSERT INTO drift_findings
        (subject, kind, field, message, cause, state, first_seen, last_seen, closed_at)
    SELECT 'sub_' || n, 'differs', 'quantity', 'a message', 'lost_webhook',
           CASE WHEN n <= 20 THEN 'open' ELSE 'repaired' END, at, at, CASE WHEN n > 20 THEN at END
    FROM generate_series(1, %(accounts)s) AS n,
         LATERAL (SELECT now() - (2 + mod(n * 7919, 378)) * interval '1 day' AS at) AS seen
"""
# None is due while somebody measures.
_VERIFICATION = "UPDATE subscriptions SET verify_due_at = looked_at + interval '11 hours'"

# Building an index takes much less time than adding to it row by row.
_INDEXES = """
    SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
      AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
"""

_TABLES = (
    _ACCOUNTS,
    _SUBSCRIPTIONS,
    _INBOX,
    _AUDIT,
    _AUDIT_HEADS,
    _ASSIGNMENTS,
    _ASSIGNMENTS_OF_THE_LARGEST,
    _NOTICES,
    _NOTICES_OF_OCCASIONS,
    _CANCELLATIONS,
    _FINDINGS,
)


def fill(database_url: str, catalog: Catalog, *, accounts: int, largest_members: int) -> None:
    """Fill the database with that many accounts, and one further account with `largest_members` members.

    Each account has 1.2 subscriptions, 10 events in the inbox, 20 audit rows, 10 members, 3 notices, one
    cancellation and one drift finding. The catalogue must sell `pdt_team`.
    """
    snapshot = SubscriptionSnapshot(
        subscription_id="sub_0",
        status="active",
        product_id="pdt_team",
        quantity=1,
        addons=(),
        metadata={},
        customer_id="cus_1",
        next_billing_date=datetime(2027, 1, 1, tzinfo=UTC),
    )
    parameters = {
        "accounts": accounts,
        "largest": LARGEST,
        "largest_members": largest_members,
        "digest": catalog.digest,
        "balance": Jsonb({"full": {"included": 100_000, "addon": 0, "contract": 0, "active": 6, "held": 0}}),
        "seats": Jsonb({"full": {"included": 5, "addon": 0}}),
        "snapshot": Jsonb(snapshot_to_json(snapshot, catalog.account_key)),
        "facts": Jsonb({"seats": {}, "status": "ok", "policy": "strict", "deadline": None}),
        "subject": Jsonb({"account_id": "team-1", "product_id": "pdt_team", "seats": {}, "status": "active"}),
        "body": b'{"type": "subscription.updated", "data": {"subscription_id": "sub_0"}}' * 3,
    }
    with _connect(database_url) as connection:
        indexes = connection.execute(_INDEXES).fetchall()
        for drop, _ in indexes:
            connection.execute(drop)
        for statement in _TABLES:
            connection.execute(statement, parameters)
        for _, create in indexes:
            connection.execute(create)
        connection.execute("VACUUM ANALYZE")


def schedule_verification(database_url: str) -> None:
    """Spread the next checks of all subscriptions over the coming hours, as after some time of running."""
    with _connect(database_url) as connection:
        connection.execute(_VERIFICATION)
        connection.execute("VACUUM ANALYZE subscriptions")


def _connect(database_url: str) -> psycopg.Connection[tuple[object, ...]]:
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True, options=_OPTIONS, cursor_factory=psycopg.ClientCursor)
