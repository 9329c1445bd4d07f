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
