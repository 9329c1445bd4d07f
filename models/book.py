"""An account's open book: its locked balance, and the one statement that writes a changed one down.

Between `open_book` and the end of the transaction nobody else can change the account's seats; `post` writes
the balance and its audit row together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from models import notice
from models.account import AccountStatus
from models.assignment import Counted
from models.audit import Cause
from models.base import Json
from models.direct import first_row, jsonb
from models.rules import policies_to_json, read_seat_rules, terms_to_json
from models.session import note_written
from seats.counts import AccountSeats, Seats
from seats.errors import AccountNotFound
from seats.grace import ending_at
from seats.limit import SeatLimit, from_json, overage, to_json
from seats.notices import crossings
from seats.overage import NO_OVERAGE, OverageClock
from seats.policies import Situation
from seats.rules import AccountRules, SeatRules
from seats.statuses import Standing


@dataclass(frozen=True, slots=True)
class Balance:
    """One seat type of one account: what was bought, what is in use, and the clock of its overage, if it is
    over its limit. `waiting` of the held seats are still to be bought.
    """

    seats: Seats
    active: int = 0
    held: int = 0
    waiting: int = 0
    clock: OverageClock = NO_OVERAGE

    @property
    def deadline(self) -> datetime | None:
        """When use must be back within what was bought, if the policy sets a deadline."""
        return self.clock.deadline

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

    def situation(self, seat_type: str, *, now: datetime, rules: SeatRules, requested: int = 1) -> Situation:
        """What a policy may look at when so many seats of this type are asked for."""
        return Situation(
            seat_type=seat_type,
            purchased=self.purchased,
            used=self.used,
            requested=requested,
            now=now,
            deadline=self.clock.known_deadline,
            grace=rules.grace,
        )

    def to_json(self) -> Json:
        return {
            "included": to_json(self.seats.included),
            "addon": self.seats.addon,
            "contract": to_json(self.seats.contract),
            "active": self.active,
            "held": self.held,
            **_clock_to_json(self.clock),
            **({"waiting": self.waiting} if self.waiting else {}),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, int | str]) -> Balance:
        seats = Seats(from_json(kept["included"]), int(kept["addon"]), from_json(kept["contract"]))
        waiting = int(kept.get("waiting", 0))
        return cls(seats, int(kept["active"]), int(kept["held"]), waiting, _clock_from_json(kept))


def _clock_to_json(clock: OverageClock) -> Json:
    """Only what there is; `suspends_at` only where it is not the deadline."""
    moments = {
        "over_since": clock.since,
        "deadline": clock.deadline,
        "shelved_deadline": clock.shelved,
        "suspends_at": clock.suspends_at if clock.suspends_at != clock.deadline else None,
    }
    kept: Json = {name: moment.isoformat() for name, moment in moments.items() if moment is not None}
    return {**kept, "warned": clock.warned} if clock.deadline else kept


def _clock_from_json(kept: Mapping[str, int | str]) -> OverageClock:
    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(str(kept[name])) if name in kept else None

    deadline, warned = moment("deadline"), int(kept.get("warned", 0))
    suspends_at = (moment("suspends_at") or deadline) if warned else None
    return OverageClock(moment("over_since"), deadline, moment("shelved_deadline"), warned, suspends_at)


EMPTY = Balance(Seats())


@dataclass(slots=True)
class Book:
    """A locked account.

    `rules` hold for every seat type that `seat_rules` does not name.
    `deadline` is until when unpaid subscriptions count. `unverified`: a subscription shows figures that
    only a webhook's body vouches for. `written` is what the audit last said of the account, and `notified`
    what the app was last told of it; each None before the first time.
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
    written: Json | None
    notified: Json | None

    def rules_of(self, seat_type: str | None) -> SeatRules:
        """The rules that decide about claims on this type; None: on roles that take no seat."""
        return self.rules if seat_type is None else self.seat_rules.get(seat_type, self.rules)

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
        if after.overage > balance.overage and (warned := balance.clock.warned):
            more = after.overage - balance.overage  # whoever claims in grace is told the deadline
            after = replace(after, clock=replace(balance.clock, warned=warned + more))
        self.balances[seat_type] = after
        if is_half:
            return
        self._set_clock(seat_type)
        self.judge()

    def restate(self, evaluated: AccountSeats, rules: AccountRules, catalog_digest: str) -> None:
        """Take over what subscriptions and contracts give now; who sits in the account stays."""
        self.rules = SeatRules.of(rules.general)
        self.seat_rules = {name: SeatRules.of(one) for name, one in rules.by_type.items()}
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
            "policy": self.rules.policy,
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "seats": self.seats_json(),
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
        self.balances[seat_type] = replace(self.of(seat_type), clock=clock)
        for moment in self.moments_of(seat_type):
            self.wake_by(moment if moment > self.now else None)

    def moments_of(self, seat_type: str) -> Iterator[datetime]:
        """When the overage of the type has consequences, or the app is warned of them."""
        for moment in self.of(seat_type).clock.consequences:
            yield from (moment, ending_at(moment, self.rules_of(seat_type).grace))

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

_FOR_UPDATE = "FOR UPDATE\n"
_LOCK = """
SELECT id, version, status, policy, grace, suspend_after_grace, hold, seat_policies, seat_terms, override,
       unverified, seats, deadline, evaluate_at, catalog_digest, notified, now()
FROM accounts WHERE id = %(id)s AND deleted_at IS NULL FOR UPDATE
"""


def open_book(session: Session, account_id: str) -> Book:
    """Lock the account and read its newest balance: always the first lock of a transaction that
    changes seats, and held for that one short transaction. Raises `AccountNotFound`.
    """
    return _read(session, _LOCK, account_id)


def read_book(session: Session, account_id: str) -> Book:
    """The account as it is, without a lock: to work out what a change would do. Raises `AccountNotFound`."""
    return _read(session, _LOCK.removesuffix(_FOR_UPDATE), account_id)


def _read(session: Session, statement: str, account_id: str) -> Book:
    row = first_row(session, statement, {"id": account_id})
    if row is None:
        raise AccountNotFound(account_id)
    found, version, status = row[:3]
    general, (seat_policies, seat_terms) = SeatRules(*row[3:7]), row[7:9]
    override, unverified, seats, deadline, evaluate_at, catalog_digest, notified, now = row[9:]
    book = Book(
        account_id=found,
        version=version,
        status=AccountStatus(status),
        rules=general,
        seat_rules=read_seat_rules(general, seat_policies, seat_terms),
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
        book.written = {**book.facts(), "seats": seats}  # as it stands, whichever release wrote it
    return book


_POST = """
WITH account AS (
    UPDATE accounts
    SET version = version + 1, status = %(status)s, policy = %(policy)s, grace = %(grace)s,
        suspend_after_grace = %(suspend_after_grace)s, hold = %(hold)s,
        seat_policies = %(seat_policies)s, seat_terms = %(seat_terms)s,
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
            "policy": book.rules.policy,
            "grace": book.rules.grace,
            "suspend_after_grace": book.rules.suspend_after_grace,
            "hold": book.rules.hold,
            "seat_policies": jsonb(policies_to_json(book.rules, book.seat_rules)),
            "seat_terms": jsonb(terms_to_json(book.rules, book.seat_rules)),
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
    note_written(session, book.account_id, book.version)
    return is_change
