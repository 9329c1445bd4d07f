"""An account's open book: its locked balance, and the one statement that writes a changed one down.

Between `open_book` and the end of the transaction nobody else can change the account's seats; `post` writes
the balance and its audit row together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from models import notice
from models.account import AccountStatus
from models.assignment import Counted
from models.audit import Cause
from models.base import Json
from models.direct import first_row, jsonb
from seats import policies
from seats.catalog import RulesInForce
from seats.counts import AccountSeats, Seats
from seats.errors import AccountNotFound
from seats.grace import ending_at
from seats.limit import SeatLimit, from_json, overage, to_json
from seats.notices import crossings
from seats.policies import Situation
from seats.statuses import Standing


@dataclass(frozen=True, slots=True)
class Balance:
    """One seat type of one account: what was bought, what is in use, and by when use must come back
    within what was bought, where its policy set a deadline. `warned` people are suspended then: so many
    were beyond the limit when the app was told that they would be. `waiting` of the held seats are still
    to be bought.
    """

    seats: Seats
    active: int = 0
    held: int = 0
    deadline: datetime | None = None
    warned: int = 0
    waiting: int = 0

    @property
    def purchased(self) -> SeatLimit:
        return self.seats.purchased

    @property
    def used(self) -> int:
        return self.active + self.held

    @property
    def overage(self) -> int:
        return overage(self.purchased, self.used)

    @property
    def is_over(self) -> bool:
        """Whether more people sit there than seats were bought, beside those who wait for one."""
        return self.overage > self.waiting

    def moved(self, by: Counted) -> Balance:
        """The balance with so many more (or fewer) seats taken."""
        return replace(
            self, active=self.active + by.active, held=self.held + by.held, waiting=self.waiting + by.waiting
        )

    def situation(self, seat_type: str, *, now: datetime, grace: timedelta, requested: int = 1) -> Situation:
        """What a policy may look at when so many seats of this type are asked for."""
        return Situation(
            seat_type=seat_type,
            purchased=self.purchased,
            used=self.used,
            requested=requested,
            now=now,
            deadline=self.deadline,
            grace=grace,
        )

    def to_json(self) -> Json:
        return {
            "included": to_json(self.seats.included),
            "addon": self.seats.addon,
            "contract": to_json(self.seats.contract),
            "active": self.active,
            "held": self.held,
            **({"deadline": self.deadline.isoformat(), "warned": self.warned} if self.deadline else {}),
            **({"waiting": self.waiting} if self.waiting else {}),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, int | str]) -> Balance:
        seats = Seats(from_json(kept["included"]), int(kept["addon"]), from_json(kept["contract"]))
        deadline = datetime.fromisoformat(str(kept["deadline"])) if "deadline" in kept else None
        return cls(
            seats,
            int(kept["active"]),
            int(kept["held"]),
            deadline,
            warned=int(kept.get("warned", 0)),
            waiting=int(kept.get("waiting", 0)),
        )


EMPTY = Balance(Seats())


@dataclass(slots=True)
class Book:
    """A locked account.

    `deadline` is until when unpaid subscriptions count. `unverified`: a subscription shows figures that
    only a webhook's body vouches for. `written` is what the audit last said of the account, and `notified`
    what the app was last told of it; each None before the first time.
    """

    account_id: str
    version: int
    status: AccountStatus
    policy: str
    seat_policies: Mapping[str, str]
    grace: timedelta
    suspend_after_grace: bool
    hold: timedelta
    override: Json | None
    unverified: bool
    balances: dict[str, Balance]
    deadline: datetime | None
    evaluate_at: datetime | None
    catalog_digest: str
    now: datetime
    written: Json | None
    notified: Json | None

    def policy_of(self, seat_type: str) -> str:
        """The policy that decides about claims on this type."""
        return self.seat_policies.get(seat_type, self.policy)

    def is_blocked(self, seat_type: str) -> bool:
        """Whether the type is over its limit and its time to come back is over."""
        deadline = self.of(seat_type).deadline
        return deadline is not None and deadline <= self.now

    def of(self, seat_type: str) -> Balance:
        return self.balances.get(seat_type, EMPTY)

    def move(self, seat_type: str | None, by: Counted, *, is_half: bool = False) -> None:
        """So many more (or fewer) seats of a type are taken; None, the free roles, occupy nothing.

        Half of a change starts and ends no deadline: `restate` follows, and judges the whole.
        """
        if seat_type is None:
            return
        balance = self.of(seat_type)
        after = balance.moved(by)
        if after.waiting and after.used < balance.used:
            self.wake_by(self.now)  # the seat is there for whoever waits for one
        if after.overage > balance.overage and balance.warned:
            more = after.overage - balance.overage  # whoever claims in grace is told the deadline
            after = replace(after, warned=balance.warned + more)
        self.balances[seat_type] = after
        if is_half:
            return
        self._set_clock(seat_type)
        self.judge()

    def restate(self, evaluated: AccountSeats, rules: RulesInForce, catalog_digest: str) -> None:
        """Take over what subscriptions and contracts give now; who sits in the account stays."""
        self.policy, self.seat_policies = rules.policy, rules.seat_policies
        self.grace, self.hold, self.suspend_after_grace = rules.grace, rules.hold, rules.suspend_after_grace
        self.deadline, self.catalog_digest = evaluated.deadline, catalog_digest
        for seat_type in {*self.balances, *evaluated.seats}:
            self.balances[seat_type] = replace(self.of(seat_type), seats=evaluated.of(seat_type))
            self._set_clock(seat_type)
        self.status = self._judged(_STATUS_OF[evaluated.standing])

    def wake_by(self, moment: datetime | None) -> None:
        """Have the account looked at again no later than `moment`."""
        if moment is not None and (self.evaluate_at is None or moment < self.evaluate_at):
            self.evaluate_at = moment

    def facts(self) -> Json:
        """The balance as the audit keeps it."""
        return {
            "status": self.status.value,
            "policy": self.policy,
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "seats": self.seats_json(),
        }

    def seats_json(self) -> Json:
        return {seat_type: self.balances[seat_type].to_json() for seat_type in sorted(self.balances)}

    def _set_clock(self, seat_type: str) -> None:
        """Stamp the deadline of a type that has come over its limit, once; clear it when it is back.

        Where people are to be suspended since a while ago only, they get a whole period of their own.
        """
        balance = self.of(seat_type)
        if not (balance.is_over and policies.load(self.policy_of(seat_type)).HAS_DEADLINE):
            self.balances[seat_type] = replace(balance, deadline=None, warned=0)
        elif balance.deadline is None or (self.suspend_after_grace and not balance.warned):
            self.stamp(seat_type)
        else:
            warned = min(balance.warned, balance.overage) if self.suspend_after_grace else 0
            self.balances[seat_type] = replace(balance, warned=warned)

    def stamp(self, seat_type: str) -> None:
        """Begin a grace period for all who are beyond the limit now."""
        balance, deadline = self.of(seat_type), self.now + self.grace
        warned = balance.overage if self.suspend_after_grace else 0
        self.balances[seat_type] = replace(balance, deadline=deadline, warned=warned)
        self.wake_by(deadline)
        self.wake_by(ending_at(deadline, self.grace))

    def judge(self) -> None:
        """Work the status out anew from what stands in the book."""
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

_LOCK = """
SELECT id, version, status, policy, seat_policies, grace, suspend_after_grace, hold, override, unverified,
       seats, deadline, evaluate_at, catalog_digest, notified, now()
FROM accounts WHERE id = %(id)s FOR UPDATE
"""


def open_book(session: Session, account_id: str) -> Book:
    """Lock the account and read its newest balance: always the first lock of a transaction that
    changes seats, and held for that one short transaction. Raises `AccountNotFound`.
    """
    row = first_row(session, _LOCK, {"id": account_id})
    if row is None:
        raise AccountNotFound(account_id)
    found, version, status, policy, seat_policies, grace, suspend_after_grace, hold, override = row[:9]
    unverified, seats, deadline, evaluate_at, catalog_digest, notified, now = row[9:]
    book = Book(
        account_id=found,
        version=version,
        status=AccountStatus(status),
        policy=policy,
        seat_policies=seat_policies,
        grace=grace,
        suspend_after_grace=suspend_after_grace,
        hold=hold,
        override=override,
        unverified=unverified,
        balances={seat_type: Balance.from_json(kept) for seat_type, kept in seats.items()},
        deadline=deadline,
        evaluate_at=evaluate_at,
        catalog_digest=catalog_digest,
        now=now,
        written=None,
        notified=notified,
    )
    if version:
        book.written = book.facts()
    return book


_POST = """
WITH account AS (
    UPDATE accounts
    SET version = version + 1, status = %(status)s, policy = %(policy)s, seat_policies = %(seat_policies)s,
        grace = %(grace)s, suspend_after_grace = %(suspend_after_grace)s, hold = %(hold)s,
        override = %(override)s, unverified = %(unverified)s, seats = %(seats)s,
        deadline = %(deadline)s, evaluate_at = %(evaluate_at)s, catalog_digest = %(catalog_digest)s,
        notified = %(notified)s
    WHERE id = %(account_id)s
    RETURNING version
), entry AS (
    INSERT INTO audit (account_id, actor, source, reason, event_id, fence, member_id, subscription_id,
                       before, after, subject_before, subject_after)
    SELECT %(account_id)s, %(actor)s, %(source)s, %(reason)s, %(event_id)s, %(fence)s, %(member_id)s,
           %(subscription_id)s, %(before)s, %(after)s, %(subject_before)s, %(subject_after)s
    WHERE %(is_change)s
)
SELECT version FROM account
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The member or the subscription that moved the balance, as it was and as it is."""

    member_id: str | None = None
    subscription_id: str | None = None
    before: Json | None = None
    after: Json | None = None


NOBODY = Subject()
_WRITTEN = "seatsync accounts written"


def post(
    session: Session, book: Book, cause: Cause, subject: Subject = NOBODY, *, is_news: bool = True
) -> bool:
    """Write the balance down; with an audit row, and True, if anything really changed.

    The version rises either way: what readers are shown (`verified_at`) may be newer even then. The app
    gets a notice of each line that was crossed since it was last told; not of half a change (`is_news`), nor
    while figures stand that no look at the provider has confirmed.
    """
    facts = book.facts()
    if is_news and not book.unverified and facts != book.notified:
        notice.put(session, book.account_id, crossings(book.notified or book.written, facts))
        book.notified = facts
    is_change = facts != book.written or subject.before != subject.after
    posted = first_row(
        session,
        _POST,
        {
            "account_id": book.account_id,
            "status": book.status.value,
            "policy": book.policy,
            "seat_policies": jsonb({**book.seat_policies}),
            "grace": book.grace,
            "suspend_after_grace": book.suspend_after_grace,
            "hold": book.hold,
            "override": jsonb(book.override),
            "unverified": book.unverified,
            "seats": jsonb(facts["seats"]),
            "deadline": book.deadline,
            "evaluate_at": book.evaluate_at,
            "catalog_digest": book.catalog_digest,
            "notified": jsonb(book.notified),
            "is_change": is_change,
            "actor": cause.actor,
            "source": cause.source,
            "reason": cause.reason,
            "event_id": cause.event_id,
            "fence": cause.fence,
            "member_id": subject.member_id,
            "subscription_id": subject.subscription_id,
            "before": jsonb(book.written),
            "after": jsonb(facts),
            "subject_before": jsonb(subject.before),
            "subject_after": jsonb(subject.after),
        },
    )
    assert posted is not None  # the row is locked: it cannot have gone
    (book.version,) = posted
    book.written = facts
    session.info.setdefault(_WRITTEN, {})[book.account_id] = book.version
    return is_change


def written_in(session: Session) -> Mapping[str, int]:
    """The accounts posted in this session, with their newest versions: what caches must be told."""
    written: Mapping[str, int] = session.info.get(_WRITTEN, {})
    return written


def forget_written(session: Session, account_id: str) -> None:
    """What was posted to the account in this session was rolled back to a savepoint."""
    session.info.get(_WRITTEN, {}).pop(account_id, None)
