"""What a passed deadline does, and what is said before one: carried out by the clock, safe to do twice.

Nobody leaves `active` here without a deadline that passed, a notice given when it was stamped, and a look
at the provider after it that still shows too few seats.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from domain.balance import Balance
from domain.catalog.model import Catalog
from domain.notices import Notice, NoticeType, ending_at
from domain.seat_limit import to_json
from domain.seat_rules import AccountRules
from domain.statuses import Phase
from models import assignment
from models.account import AccountStatus
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.subscription import Subscription
from models.sync_queue import raise_hint
from services.ledger import claims, seat_holders
from services.ledger.entitlements import share_of
from services.ledger.inputs import Inputs
from services.ledger.locked_account import LockedAccount

_CAUSE = Cause(
    actor="system:deadline", source="clock", reason="the time to come back under the limit is over"
)


def apply_deadlines(account: LockedAccount, inputs: Inputs, rules: AccountRules, catalog: Catalog) -> None:
    """Warn of what is about to end; suspend whom the rules say to suspend once the time is over. The account
    is judged.
    """
    _warn_of_ends(account, rules)
    _warn_of_contracts(account, catalog)
    if account.status is AccountStatus.SUSPENDED:  # which keeps who is there
        return
    for seat_type in sorted(account.balances):
        suspends_at = account.of(seat_type).clock.suspends_at
        is_time = suspends_at is not None and suspends_at <= account.now
        if is_time and _is_confirmed(account, inputs, suspends_at):
            _suspend(account, seat_type)


def request_sync_after_deadline(account: LockedAccount, inputs: Inputs, catalog: Catalog) -> None:
    """A payment deadline has passed: ask the provider whether anything was paid, which decides."""
    if account.deadline is None or account.deadline > account.now:
        return
    for subscription in inputs.subscriptions:
        standing = share_of(subscription, catalog, account.now).standing
        until = standing.until
        is_over = standing.phase is Phase.GRACE and until is not None and until <= account.now
        if is_over and not _was_looked_at(subscription, until):
            raise_hint(account.session, subscription.id)


def _is_confirmed(account: LockedAccount, inputs: Inputs, deadline: datetime | None) -> bool:
    """Whether a look at every subscription after the deadline still shows what we believe; those that
    were not looked at since are asked for.
    """
    unconfirmed = [one for one in inputs.subscriptions if not _confirms(one, deadline or account.now)]
    for subscription in unconfirmed:
        if subscription.hint == subscription.synced and not _was_looked_at(subscription, deadline):
            raise_hint(account.session, subscription.id)
    return not unconfirmed


def _confirms(subscription: Subscription, deadline: datetime) -> bool:
    """Whether the newest look came after the deadline and could be counted, or found that there never was
    such a subscription; and nothing has been heard of it since.
    """
    if subscription.hint > subscription.synced and subscription.dead_reason is None:
        return False
    if subscription.snapshot is None and subscription.unverified is None:
        return _was_looked_at(subscription, deadline)
    counted_at = subscription.counted_at
    return subscription.unverified is None and counted_at is not None and counted_at >= deadline


def _was_looked_at(subscription: Subscription, since: datetime | None) -> bool:
    """Whether a look since then came to an end, if only to learn that the provider does not know it; to
    ask for one more would be to ask without end.
    """
    return since is not None and subscription.looked_at is not None and subscription.looked_at >= since


def _suspend(account: LockedAccount, seat_type: str) -> None:
    """Take back as many seats as the app was warned of, in the planner's order: invitations are released,
    people are suspended, and their history is kept. Who came to be beyond the limit after the warning, by a
    further reduction, gets a grace period of their own.

    The app is notified that the time is over before it is notified of who was suspended, although that may
    bring the account back within its limit at once.
    """
    account.add_crossings()
    before_that = account.of(seat_type)
    warned = before_that.clock.warned
    for member_id in seat_holders.to_release(account.session, account.account_id, seat_type, warned):
        claims.release_seat(account, _person(account, member_id), _CAUSE)
    over = _left(account, seat_type, before_that)
    for member_id in seat_holders.to_suspend(account.session, account.account_id, seat_type, over):
        person = _person(account, member_id)
        with claims.change_rows(account, (person,), _CAUSE):
            person.state = AssignmentState.SUSPENDED
        told = {"member_id": member_id, "seat_type": seat_type, "reason": _CAUSE.reason}
        account.add_notice(Notice(NoticeType.SUSPENDED, told))
    if before_that.overage > warned and account.of(seat_type).overage:
        account.warn_again(seat_type)
        account.record(_CAUSE)


def _left(account: LockedAccount, seat_type: str, before: Balance) -> int:
    """How many of those warned of are still to go."""
    gone = before.used - account.of(seat_type).used
    return max(before.clock.warned - gone, 0)


def _person(account: LockedAccount, member_id: str) -> Assignment:
    person = assignment.live(account.session, account.account_id, member_id)
    assert person is not None  # the account is locked
    return person


def _warn_of_ends(account: LockedAccount, rules: AccountRules) -> None:
    """Say once that a grace period is about to end."""
    if _is_time(account.deadline, rules.general.payment_grace, account.now):
        _say_ending(account, account.deadline, {"reason": "payment"})
    for seat_type, balance in sorted(account.balances.items()):
        told = {"reason": "over_limit", "seat_type": seat_type, **balance.figures()}
        for moment in balance.clock.consequences:
            if _is_time(moment, account.rules_of(seat_type).grace, account.now):
                leaving = balance.clock.warned if moment == balance.clock.suspends_at else 0
                _say_ending(account, moment, {**told, "to_be_suspended": leaving})


def _is_time(deadline: datetime | None, grace: timedelta, now: datetime) -> bool:
    return deadline is not None and ending_at(deadline, grace) <= now < deadline


def _say_ending(account: LockedAccount, deadline: datetime | None, told: Mapping[str, object]) -> None:
    ends = deadline.isoformat() if deadline else None
    account.add_notice(Notice(NoticeType.GRACE_ENDING, {"deadline": ends, **told}, once=ends))


def _warn_of_contracts(account: LockedAccount, catalog: Catalog) -> None:
    """Say once that a contract is about to end."""
    for contract in catalog.contracts_of(account.account_id):
        starts, ends = contract.notice_at, contract.ends_at
        if starts is None or ends is None or not starts <= account.now < ends:
            continue
        told = {
            "contract": contract.name,
            "ends": str(contract.ends),
            "seats": {seat_type: to_json(limit) for seat_type, limit in contract.seats.items()},
            "billing": contract.billing,
        }
        once = f"{contract.name}:{contract.ends}"
        account.add_notice(Notice(NoticeType.CONTRACT_ENDING, told, once))
