"""The locked account: operations record their changes on it, and `save` writes all of them at once.

From `lock_account` to the end of the transaction no other transaction can change the account's seats. One
save writes the balances, audit rows and notices of all recorded changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from domain.balance import balances_from_json
from domain.errors import AccountNotFound, SeatSyncError
from domain.notices import Notice, crossings
from domain.seat_rules import SeatRules
from models import notice
from models.account import AccountStatus
from models.account_rules import policies_to_json, read_seat_rules, terms_to_json
from models.audit import Cause
from models.base import Json
from models.database import record_written
from models.driver import first_row, jsonb
from services.ledger.account_state import AccountState


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The member or subscription that an audit entry is about, with its facts before and after the change."""

    member_id: str | None = None
    subscription_id: str | None = None
    before: Json | None = None
    after: Json | None = None


NOBODY = Subject()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One recorded change: who made it and why, and the account's facts after it."""

    cause: Cause
    subject: Subject
    after: Json

    def to_json(self, *, before: Json | None) -> Json:
        """The audit row. `before` is the account's facts after the previous entry."""
        return {
            "actor": self.cause.actor,
            "source": self.cause.source,
            "reason": self.cause.reason,
            "event_id": self.cause.event_id,
            "fence": self.cause.fence,
            "member_id": self.subject.member_id,
            "subscription_id": self.subject.subscription_id,
            "before": before,
            "after": self.after,
            "subject_before": self.subject.before,
            "subject_after": self.subject.after,
        }


@dataclass(slots=True, kw_only=True)
class LockedAccount(AccountState):
    """An account whose row this transaction has locked.

    `written` holds the account's facts in the newest audit row, `notified` those that the app was last
    notified of; each is None before the first time.
    """

    session: Session
    written: Json | None
    notified: Json | None
    _entries: list[_Entry] = field(default_factory=list)
    _notices: list[Notice] = field(default_factory=list)

    @property
    def entry_count(self) -> int:
        """The number of recorded entries that are not saved yet."""
        return len(self._entries)

    def record(self, cause: Cause, subject: Subject = NOBODY) -> None:
        """Add an audit entry for what changed since the previous one, in the account or in `subject`."""
        self._entries.append(_Entry(cause, subject, self.facts()))

    def add_notice(self, *notices: Notice) -> None:
        """Add notices to be stored by the next `save`."""
        self._notices.extend(notices)

    def add_crossings(self) -> None:
        """Add a notice for each limit or status crossed since the app was last notified. `save` calls this.

        Call it earlier only for a state that this transaction also ends (`seat.blocked` before a suspension).
        Adds nothing while the account has unverified figures.
        """
        self._add_crossings(self.facts())

    def _add_crossings(self, facts: Json) -> None:
        if not self.unverified and facts != self.notified:
            self.add_notice(*crossings(self.notified or self.written, facts))
            self.notified = facts

    def save(self) -> bool:
        """Write the balances, the notices, and an audit row for each entry that changed something.

        Returns whether anything changed. Without entries nothing is written. With entries the version rises
        even if nothing changed, because readers may be shown a newer `verified_at`.
        """
        if not self._entries:
            return False
        self.compute_status()
        facts = self.facts()
        self._entries[-1] = replace(self._entries[-1], after=facts)
        self._add_crossings(facts)
        # The warning that something ends comes after the notice that it began.
        self._notices.sort(key=lambda one: one.once is not None)
        notice.add(self.session, self.account_id, self._notices)
        rows = self._audit_rows()
        self._write(facts["seats"], rows)
        self._entries.clear()
        self._notices.clear()
        return bool(rows)

    def _audit_rows(self) -> Sequence[Json]:
        """One audit row per entry that changed something. Its `before` is the previous entry's `after`."""
        rows = []
        for entry in self._entries:
            if entry.after != self.written or entry.subject.before != entry.subject.after:
                rows.append(entry.to_json(before=self.written))
            self.written = entry.after
        return rows

    def _write(self, seats: Json, rows: Sequence[Json]) -> None:
        saved = first_row(
            self.session,
            _SAVE_WITH_AUDIT if rows else _SAVE,
            {
                "account_id": self.account_id,
                "status": self.status.value,
                "policy": self.rules.policy,
                "grace": self.rules.grace,
                "suspend_after_grace": self.rules.suspend_after_grace,
                "hold": self.rules.hold,
                "seat_policies": jsonb(policies_to_json(self.rules, self.seat_rules)),
                "seat_terms": jsonb(terms_to_json(self.rules, self.seat_rules)),
                "override": jsonb(self.override),
                "unverified": self.unverified,
                "seats": jsonb(seats),
                "deadline": self.deadline,
                "evaluate_at": self.evaluate_at,
                "catalog_digest": self.catalog_digest,
                "notified": jsonb(self.notified),
                **({"rows": Jsonb(rows)} if rows else {}),
            },
        )
        assert saved is not None  # the row is locked, so nobody can have deleted it
        (self.version,) = saved
        record_written(self.session, self.account_id, self.version)


_FOR_UPDATE = "FOR UPDATE\n"
_LOCK = """
SELECT id, version, status, policy, grace, suspend_after_grace, hold, seat_policies, seat_terms, override,
       unverified, seats, deadline, evaluate_at, catalog_digest, notified, now()
FROM accounts WHERE id = %(id)s AND deleted_at IS NULL FOR UPDATE
"""
_SAVE = """
UPDATE accounts
SET version = version + 1, status = %(status)s, policy = %(policy)s, grace = %(grace)s,
    suspend_after_grace = %(suspend_after_grace)s, hold = %(hold)s,
    seat_policies = %(seat_policies)s, seat_terms = %(seat_terms)s,
    override = %(override)s, unverified = %(unverified)s, seats = %(seats)s,
    deadline = %(deadline)s, evaluate_at = %(evaluate_at)s, catalog_digest = %(catalog_digest)s,
    notified = %(notified)s
WHERE id = %(account_id)s
RETURNING version
"""
# The rows are passed as one JSON document: one parameter per value could exceed the limit of a statement.
_SAVE_WITH_AUDIT = f"""
WITH account AS ({_SAVE}), entries AS (
    INSERT INTO audit (account_id, actor, source, reason, event_id, fence, member_id, subscription_id,
                       before, after, subject_before, subject_after)
    SELECT %(account_id)s, actor, source, reason, event_id, fence, member_id, subscription_id,
           before, after, subject_before, subject_after
    FROM jsonb_to_recordset(%(rows)s) AS entry (
        actor text, source text, reason text, event_id text, fence bigint, member_id text,
        subscription_id text, before jsonb, after jsonb, subject_before jsonb, subject_after jsonb)
)
SELECT version FROM account
"""  # noqa: S608  constant statements


def lock_account(session: Session, account_id: str) -> LockedAccount:
    """Lock the account's row and read its balances. Always take this lock first in a transaction that
    changes seats, and keep the transaction short. Raises `AccountNotFound`.
    """
    values, seats, notified = _load(session, _LOCK, account_id)
    account = LockedAccount(**values, session=session, written=None, notified=notified)
    if account.version:
        # The stored JSON as it is, since another release of the service may have written it.
        account.written = account.facts(seats)
    return account


@contextmanager
def changing(session: Session, account_id: str) -> Iterator[LockedAccount]:
    """Lock the account, and save what the block records on it, even if the block raises a `SeatSyncError`."""
    account = lock_account(session, account_id)
    try:
        yield account
    except SeatSyncError:
        account.save()
        raise
    account.save()


def read(session: Session, account_id: str) -> AccountState:
    """Read the account without a lock, to compute what a change would do. Raises `AccountNotFound`."""
    values, _, _ = _load(session, _LOCK.removesuffix(_FOR_UPDATE), account_id)
    return AccountState(**values)


def _load(session: Session, statement: str, account_id: str) -> tuple[dict[str, Any], Json, Json | None]:
    """The fields of an `AccountState`, the stored balances as JSON, and the facts last notified of."""
    row = first_row(session, statement, {"id": account_id})
    if row is None:
        raise AccountNotFound(account_id)
    found, version, status = row[:3]
    general, (seat_policies, seat_terms) = SeatRules(*row[3:7]), row[7:9]
    override, unverified, seats, deadline, evaluate_at, catalog_digest, notified, now = row[9:]
    values = {
        "account_id": found,
        "version": version,
        "status": AccountStatus(status),
        "rules": general,
        "seat_rules": read_seat_rules(general, seat_policies, seat_terms),
        "override": override,
        "unverified": unverified,
        "balances": balances_from_json(seats),
        "deadline": deadline,
        "evaluate_at": evaluate_at,
        "catalog_digest": catalog_digest,
        "now": now,
    }
    return values, seats, notified
