"""Deadlines: send warnings before they end, and apply them once they have passed. Safe to repeat.

A member is suspended here only after three things: a notice when the deadline was set, the deadline itself,
and a later sync that still shows too few seats.
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
from services.ledger.evaluation_inputs import Inputs
from services.ledger.locked_account import LockedAccount

_CAUSE = Cause(actor="system:deadline", source="clock", reason="the grace period for the overage has ended")


def apply_deadlines(account: LockedAccount, inputs: Inputs, rules: AccountRules, catalog: Catalog) -> None:
    """Add the notices that are due, and suspend members if the rules say so and the deadline has passed. The
    account's status must be computed.
    """
    _warn_of_ends(account, rules)
    _warn_of_contracts(account, catalog)
    if account.status is AccountStatus.SUSPENDED:  # a suspended account keeps its members as they are
        return
    for seat_type in sorted(account.balances):
        suspends_at = account.balance_of(seat_type).clock.suspends_at
        is_due = suspends_at is not None and suspends_at <= account.now
        if is_due and _is_confirmed(account, inputs, suspends_at):
            _suspend(account, seat_type)


def request_sync_after_deadline(account: LockedAccount, inputs: Inputs, catalog: Catalog) -> None:
    """After a payment deadline, request a sync of each unpaid subscription. Its result decides."""
    if account.deadline is None or account.deadline > account.now:
        return
    for subscription in inputs.subscriptions:
        standing = share_of(subscription, catalog, account.now).standing
        until = standing.until
        has_passed = standing.phase is Phase.GRACE and until is not None and until <= account.now
        if has_passed and not _was_synced(subscription, until):
            raise_hint(account.session, subscription.id)


def _is_confirmed(account: LockedAccount, inputs: Inputs, deadline: datetime | None) -> bool:
    """True if all subscriptions were synced after the deadline, so that the overage is confirmed. Requests a
    sync of the others.
    """
    unconfirmed = [one for one in inputs.subscriptions if not _confirms(one, deadline or account.now)]
    for subscription in unconfirmed:
        if subscription.hint == subscription.synced and not _was_synced(subscription, deadline):
            raise_hint(account.session, subscription.id)
    return not unconfirmed


def _confirms(subscription: Subscription, deadline: datetime) -> bool:
    """True if the subscription was synced after the deadline with a usable result (or the provider has never
    known it) and no newer event is pending.
    """
    if subscription.hint > subscription.synced and subscription.dead_reason is None:
        return False
    if subscription.snapshot is None and subscription.unverified is None:
        return _was_synced(subscription, deadline)
    counted_at = subscription.counted_at
    return subscription.unverified is None and counted_at is not None and counted_at >= deadline


def _was_synced(subscription: Subscription, since: datetime | None) -> bool:
    """True if a sync has ended since then with any result, even that the provider does not know the
    subscription. Requesting another one would repeat forever.
    """
    return since is not None and subscription.looked_at is not None and subscription.looked_at >= since


def _suspend(account: LockedAccount, seat_type: str) -> None:
    """Free as many seats as the app was warned about, in reduction order: invitations are released, active
    members are suspended.

    Members whom a further reduction pushed over the limit after that warning get their own grace period. The
    notice that the account is blocked is added first, because the suspension may unblock it at once.
    """
    account.add_crossings()
    before = account.balance_of(seat_type)
    warned = before.clock.warned
    for member_id in seat_holders.to_release(account.session, account.account_id, seat_type, warned):
        claims.release_seat(account, _person(account, member_id), _CAUSE)
    over = _still_to_free(account, seat_type, before)
    for member_id in seat_holders.to_suspend(account.session, account.account_id, seat_type, over):
        person = _person(account, member_id)
        with claims.change_rows(account, (person,), _CAUSE):
            person.state = AssignmentState.SUSPENDED
        facts = {"member_id": member_id, "seat_type": seat_type, "reason": _CAUSE.reason}
        account.add_notice(Notice(NoticeType.SUSPENDED, facts))
    if before.overage > warned and account.balance_of(seat_type).overage:
        account.warn_again(seat_type)
        account.record(_CAUSE)


def _still_to_free(account: LockedAccount, seat_type: str, before: Balance) -> int:
    """How many of the seats that the app was warned about are still in use."""
    freed = before.used - account.balance_of(seat_type).used
    return max(before.clock.warned - freed, 0)


def _person(account: LockedAccount, member_id: str) -> Assignment:
    person = assignment.live(account.session, account.account_id, member_id)
    assert person is not None  # the account is locked
    return person


def _warn_of_ends(account: LockedAccount, rules: AccountRules) -> None:
    """Add one notice for each grace period that is about to end."""
    if _is_warning_due(account.deadline, rules.general.payment_grace, account.now):
        _add_grace_ending(account, account.deadline, {"reason": "payment"})
    for seat_type, balance in sorted(account.balances.items()):
        facts = {"reason": "over_limit", "seat_type": seat_type, **balance.figures()}
        for moment in balance.clock.consequences:
            if _is_warning_due(moment, account.rules_of(seat_type).grace, account.now):
                to_be_suspended = balance.clock.warned if moment == balance.clock.suspends_at else 0
                _add_grace_ending(account, moment, {**facts, "to_be_suspended": to_be_suspended})


def _is_warning_due(deadline: datetime | None, grace: timedelta, now: datetime) -> bool:
    return deadline is not None and ending_at(deadline, grace) <= now < deadline


def _add_grace_ending(account: LockedAccount, deadline: datetime | None, facts: Mapping[str, object]) -> None:
    ends = deadline.isoformat() if deadline else None
    account.add_notice(Notice(NoticeType.GRACE_ENDING, {"deadline": ends, **facts}, once=ends))


def _warn_of_contracts(account: LockedAccount, catalog: Catalog) -> None:
    """Add one notice for each contract that is about to end."""
    for contract in catalog.contracts_of(account.account_id):
        starts, ends = contract.notice_at, contract.ends_at
        if starts is None or ends is None or not starts <= account.now < ends:
            continue
        facts = {
            "contract": contract.name,
            "ends": str(contract.ends),
            "seats": {seat_type: to_json(limit) for seat_type, limit in contract.seats.items()},
            "billing": contract.billing,
        }
        once = f"{contract.name}:{contract.ends}"
        account.add_notice(Notice(NoticeType.CONTRACT_ENDING, facts, once))
