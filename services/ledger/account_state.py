"""The state of an account: its balances, the rules that decide about them, and the status that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from domain.balance import EMPTY, Balance, Counted
from domain.counts import AccountSeats
from domain.notices import ending_at
from domain.overage import OverageClock
from domain.seat_rules import AccountRules, SeatRules
from domain.statuses import Standing
from models.account import AccountStatus
from models.account_rules import policies_to_json
from models.base import Json


@dataclass(slots=True, kw_only=True)
class AccountState:
    """The balances of an account and the rules that apply to them.

    `rules` apply to every seat type that `seat_rules` does not name. Unpaid subscriptions count until
    `deadline`. `unverified` is true while figures of a subscription come from a webhook body that no sync
    has confirmed. `evaluate_at` is the next time at which the account changes without an event.
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
        """The rules for claims on this seat type; None stands for roles that take no seat."""
        return self.rules if seat_type is None else self.seat_rules.get(seat_type, self.rules)

    def is_blocked(self, seat_type: str) -> bool:
        """True if the type is over its limit and its deadline has passed."""
        deadline = self.balance_of(seat_type).deadline
        return deadline is not None and deadline <= self.now

    def balance_of(self, seat_type: str) -> Balance:
        """The balance of the seat type; an empty one if the account has never had such seats."""
        return self.balances.get(seat_type, EMPTY)

    def move(self, seat_type: str | None, by: Counted) -> None:
        """Adjust the used seats of a type by a difference. Free roles (None) take no seat.

        Deadlines and status are updated later, by `compute_status`, once the whole change is known.
        """
        if seat_type is None:
            return
        balance = self.balance_of(seat_type)
        after = balance.moved(by)
        if after.waiting and after.used < balance.used:
            self.evaluate_by(self.now)  # the freed seat goes to a pending claim
        if after.overage > balance.overage and (warned := balance.clock.warned):
            # A claim granted during the grace period was answered with the deadline, so it counts as warned.
            more = after.overage - balance.overage
            after = replace(after, clock=replace(balance.clock, warned=warned + more))
        self.balances[seat_type] = after

    def apply_entitlements(self, evaluated: AccountSeats, rules: AccountRules, catalog_digest: str) -> None:
        """Set what subscriptions and contracts give now. Used seats stay. Call `compute_status` next."""
        self.rules = SeatRules.of(rules.general)
        self.seat_rules = {name: SeatRules.of(one) for name, one in rules.by_type.items()}
        self.deadline, self.catalog_digest = evaluated.deadline, catalog_digest
        for seat_type in {*self.balances, *evaluated.seats}:
            self.balances[seat_type] = replace(self.balance_of(seat_type), seats=evaluated.of(seat_type))
        self.status = _STATUS_OF[evaluated.standing]

    def evaluate_by(self, moment: datetime | None) -> None:
        """Have the account evaluated again no later than `moment`; None changes nothing."""
        if moment is not None and (self.evaluate_at is None or moment < self.evaluate_at):
            self.evaluate_at = moment

    def facts(self, seats: Json | None = None) -> Json:
        """The account as audit rows store it. `seats` are its balances as JSON, if the caller has them."""
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
        """Restart the grace period of every overage that has no deadline yet, because its rules changed."""
        for seat_type, balance in self.balances.items():
            self.balances[seat_type] = replace(balance, clock=balance.clock.restarted())

    def warn_again(self, seat_type: str) -> None:
        """Start a new grace period for the members who are still over the limit."""
        balance = self.balance_of(seat_type)
        clock = balance.clock.warning(self.rules_of(seat_type), balance.overage, self.now)
        self._set_clock(seat_type, clock)

    def _update_clock(self, seat_type: str) -> None:
        """Start the clock of a type that went over its limit, and stop it once the overage is over."""
        balance = self.balance_of(seat_type)
        if balance.is_over:
            clock = balance.clock.running(self.rules_of(seat_type), balance.overage, self.now)
        else:
            clock = balance.clock.stopped(is_confirmed=not self.unverified)
        self._set_clock(seat_type, clock)

    def _set_clock(self, seat_type: str, clock: OverageClock) -> None:
        """Set the clock, and have the account evaluated at each of its deadlines and when to warn of them."""
        self.balances[seat_type] = replace(self.balance_of(seat_type), clock=clock)
        for consequence in clock.consequences:
            for moment in (consequence, ending_at(consequence, self.rules_of(seat_type).grace)):
                self.evaluate_by(moment if moment > self.now else None)

    def compute_status(self) -> None:
        """Set the overage clocks and the status from the current balances. Safe to repeat."""
        for seat_type in self.balances:
            self._update_clock(seat_type)
        self.status = self._status_after_use(self._status_before_use())

    def _status_before_use(self) -> AccountStatus:
        """The status that subscriptions and contracts give, whatever seats are used."""
        if self.status in (AccountStatus.SUSPENDED, AccountStatus.ENDED):
            return self.status
        return AccountStatus.GRACE if self.deadline is not None else AccountStatus.OK

    def _status_after_use(self, status: AccountStatus) -> AccountStatus:
        """The given status, or a worse one if a seat type is over its limit."""
        if status in (AccountStatus.SUSPENDED, AccountStatus.ENDED):
            return status
        if any(self.is_blocked(seat_type) for seat_type in self.balances):
            return AccountStatus.BLOCKED
        if status is AccountStatus.GRACE or any(one.deadline for one in self.balances.values()):
            return AccountStatus.GRACE
        is_over = any(balance.is_over for balance in self.balances.values())
        return AccountStatus.OVER_LIMIT if is_over else AccountStatus.OK


_STATUS_OF = {
    Standing.OK: AccountStatus.OK,
    Standing.GRACE: AccountStatus.GRACE,
    Standing.SUSPENDED: AccountStatus.SUSPENDED,
    Standing.ENDED: AccountStatus.ENDED,
}
