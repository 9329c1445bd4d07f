"""The locked account: operations record on it what they do, and `save` writes all of it at once.

Between `lock_account` and the end of the transaction nobody else can change the account's seats. One save
writes the balance, the audit rows and the notices of everything that was recorded, together or not at all.
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
    """The member or the subscription that changed the balance, as it was and as it is."""

    member_id: str | None = None
    subscription_id: str | None = None
    before: Json | None = None
    after: Json | None = None


NOBODY = Subject()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was recorded of one change: who made it, and the account as it was after it."""

    cause: Cause
    subject: Subject
    after: Json

    def to_json(self, *, before: Json | None) -> Json:
        """The audit row, after the one that left the account as `before`."""
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
    """An account that nobody else can change until the transaction ends.

    `written` is what the audit last said of it, and `notified` what the app was last notified of; each None
    before the first time.
    """

    session: Session
    written: Json | None
    notified: Json | None
    _entries: list[_Entry] = field(default_factory=list)
    _notices: list[Notice] = field(default_factory=list)

    @property
    def entry_count(self) -> int:
        """How many entries were recorded and are to be saved."""
        return len(self._entries)

    def record(self, cause: Cause, subject: Subject = NOBODY) -> None:
        """Note an audit entry for what has changed since the last one, in the account or in its subject."""
        self._entries.append(_Entry(cause, subject, self.facts()))

    def add_notice(self, *notices: Notice) -> None:
        """Have the app notified, whatever else becomes of the account until it is saved."""
        self._notices.extend(notices)

    def add_crossings(self) -> None:
        """Add a notice of each line that was crossed since the app was last notified. `save` does so itself.

        Call it earlier only for a state that this transaction also ends (`seat.blocked` before a suspension).
        While figures stand that no sync has confirmed, nothing is added.
        """
        self._add_crossings(self.facts())

    def _add_crossings(self, facts: Json) -> None:
        if not self.unverified and facts != self.notified:
            self.add_notice(*crossings(self.notified or self.written, facts))
            self.notified = facts

    def save(self) -> bool:
        """Write what was recorded: the balance, an audit row for each entry that changed something, and the
        notices. Whether anything changed; nothing is written where nothing was recorded.

        The version rises even if nothing changed: what readers are shown (`verified_at`) may be newer.
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
        """The entries that changed something; the `before` of each is the `after` of the one before it."""
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
        assert saved is not None  # the row is locked: it cannot have gone
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
# The rows come as one document, in their order, since there may be more than a statement has parameters.
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
"""  # noqa: S608  statements of ours


def lock_account(session: Session, account_id: str) -> LockedAccount:
    """Lock the account and read its newest balance: always the first lock of a transaction that
    changes seats, and held for that one short transaction. Raises `AccountNotFound`.
    """
    values, seats, notified = _load(session, _LOCK, account_id)
    account = LockedAccount(**values, session=session, written=None, notified=notified)
    if account.version:
        account.written = account.facts(seats)  # as they stand, whichever release wrote them
    return account


@contextmanager
def changing(session: Session, account_id: str) -> Iterator[LockedAccount]:
    """Lock the account, and save what the block records on it, even if the block ends in a refusal."""
    account = lock_account(session, account_id)
    try:
        yield account
    except SeatSyncError:
        account.save()
        raise
    account.save()


def read(session: Session, account_id: str) -> AccountState:
    """The account as it is, without a lock: to work out what a change would do. Raises `AccountNotFound`."""
    values, _, _ = _load(session, _LOCK.removesuffix(_FOR_UPDATE), account_id)
    return AccountState(**values)


def _load(session: Session, statement: str, account_id: str) -> tuple[dict[str, Any], Json, Json | None]:
    """The fields of an `AccountState`; the seats as they are stored; what the app was last notified of."""
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
