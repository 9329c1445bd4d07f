"""The locked account: operations record on it what they do, and `save` writes all of it at once.

Between `lock_account` and the end of the transaction nobody else can change the account's seats. One save
writes the balance, the audit rows and the notices of everything that was recorded, together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from domain.balance import EMPTY, Balance, Counted, balances_from_json
from domain.counts import AccountSeats
from domain.errors import AccountNotFound, SeatSyncError
from domain.notices import Notice, crossings, ending_at
from domain.overage import OverageClock
from domain.seat_rules import AccountRules, SeatRules
from domain.statuses import Standing
from models import notice
from models.account import AccountStatus
from models.account_rules import policies_to_json, read_seat_rules, terms_to_json
from models.audit import Cause
from models.base import Json
from models.database import record_written
from models.driver import first_row, jsonb


@dataclass(slots=True, kw_only=True)
class AccountState:
    """An account in memory: its balances and the rules that decide about them.

    `rules` hold for every seat type that `seat_rules` does not name.
    `deadline` is until when unpaid subscriptions count. `unverified`: a subscription shows figures that
    only a webhook's body vouches for. `evaluate_at` is when time alone changes the account.
    """

    account_id: str
    version: int
    status: AccountStatus
    rules: SeatRules
    seat_rules: Mapping[str, SeatRules]
    override: Json | None
    unverified: bool
    balances: dict[str, Balance]
    deadline: datetime | None
    evaluate_at: datetime | None
    catalog_digest: str
    now: datetime

    def rules_of(self, seat_type: str | None) -> SeatRules:
        """The rules that decide about claims on this type; None: on roles that take no seat."""
        return self.rules if seat_type is None else self.seat_rules.get(seat_type, self.rules)

    def is_blocked(self, seat_type: str) -> bool:
        """Whether the type is over its limit and its time to come back is over."""
        deadline = self.of(seat_type).deadline
        return deadline is not None and deadline <= self.now

    def of(self, seat_type: str) -> Balance:
        return self.balances.get(seat_type, EMPTY)

    def move(self, seat_type: str | None, by: Counted) -> None:
        """So many more (or fewer) seats of a type are taken; None, the free roles, occupy nothing.

        Deadlines and status follow in `compute_status`, when the whole change is known.
        """
        if seat_type is None:
            return
        balance = self.of(seat_type)
        after = balance.moved(by)
        if after.waiting and after.used < balance.used:
            self.evaluate_by(self.now)  # the seat is there for whoever waits for one
        if after.overage > balance.overage and (warned := balance.clock.warned):
            more = after.overage - balance.overage  # whoever claims in grace is told the deadline
            after = replace(after, clock=replace(balance.clock, warned=warned + more))
        self.balances[seat_type] = after

    def apply_entitlements(self, evaluated: AccountSeats, rules: AccountRules, catalog_digest: str) -> None:
        """Set what subscriptions and contracts give now; used seats stay. `compute_status` has to follow."""
        self.rules = SeatRules.of(rules.general)
        self.seat_rules = {name: SeatRules.of(one) for name, one in rules.by_type.items()}
        self.deadline, self.catalog_digest = evaluated.deadline, catalog_digest
        for seat_type in {*self.balances, *evaluated.seats}:
            self.balances[seat_type] = replace(self.of(seat_type), seats=evaluated.of(seat_type))
        self.status = _STATUS_OF[evaluated.standing]

    def evaluate_by(self, moment: datetime | None) -> None:
        """Have the account looked at again no later than `moment`."""
        if moment is not None and (self.evaluate_at is None or moment < self.evaluate_at):
            self.evaluate_at = moment

    def facts(self, seats: Json | None = None) -> Json:
        """The account as the audit keeps it; with these `seats`, if they are known as JSON already."""
        return {
            "status": self.status.value,
            "policy": self.rules.policy,
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "seats": self.seats_json() if seats is None else seats,
        }

    def seats_json(self) -> Json:
        """The balances by seat type, each with its policy if that is not the account's."""
        policies = policies_to_json(self.rules, self.seat_rules)
        return {
            seat_type: {
                **self.balances[seat_type].to_json(),
                **({"policy": policies[seat_type]} if seat_type in policies else {}),
            }
            for seat_type in sorted(self.balances)
        }

    def restart_clocks(self) -> None:
        """The app has decided anew: an overage that was given no deadline yet counts from now on."""
        for seat_type, balance in self.balances.items():
            self.balances[seat_type] = replace(balance, clock=balance.clock.restarted())

    def warn_again(self, seat_type: str) -> None:
        """Begin a grace period for the members who are still beyond the limit."""
        balance = self.of(seat_type)
        clock = balance.clock.warning(self.rules_of(seat_type), balance.overage, self.now)
        self._keep_clock(seat_type, clock)

    def _set_clock(self, seat_type: str) -> None:
        """Start the clock of a type that has come over its limit, and stop it when it is back."""
        balance = self.of(seat_type)
        if balance.is_over:
            clock = balance.clock.running(self.rules_of(seat_type), balance.overage, self.now)
        else:
            clock = balance.clock.stopped(is_confirmed=not self.unverified)
        self._keep_clock(seat_type, clock)

    def _keep_clock(self, seat_type: str, clock: OverageClock) -> None:
        """The clock is this one, and the account is evaluated when it has consequences or warns of them."""
        self.balances[seat_type] = replace(self.of(seat_type), clock=clock)
        for consequence in clock.consequences:
            for moment in (consequence, ending_at(consequence, self.rules_of(seat_type).grace)):
                self.evaluate_by(moment if moment > self.now else None)

    def compute_status(self) -> None:
        """Set the clocks of overages, and the status, by the balances as they are now. Safe to repeat."""
        for seat_type in self.balances:
            self._set_clock(seat_type)
        self.status = self._judged(self._standing())

    def _standing(self) -> AccountStatus:
        """What subscriptions and contracts say, whoever sits in the account."""
        if self.status in (AccountStatus.SUSPENDED, AccountStatus.ENDED):
            return self.status
        return AccountStatus.GRACE if self.deadline is not None else AccountStatus.OK

    def _judged(self, standing: AccountStatus) -> AccountStatus:
        """The standing, or worse where use exceeds what was bought."""
        if standing in (AccountStatus.SUSPENDED, AccountStatus.ENDED):
            return standing
        if any(self.is_blocked(seat_type) for seat_type in self.balances):
            return AccountStatus.BLOCKED
        if standing is AccountStatus.GRACE or any(one.deadline for one in self.balances.values()):
            return AccountStatus.GRACE
        is_over = any(balance.is_over for balance in self.balances.values())
        return AccountStatus.OVER_LIMIT if is_over else AccountStatus.OK


_STATUS_OF = {
    Standing.OK: AccountStatus.OK,
    Standing.GRACE: AccountStatus.GRACE,
    Standing.SUSPENDED: AccountStatus.SUSPENDED,
    Standing.ENDED: AccountStatus.ENDED,
}


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
