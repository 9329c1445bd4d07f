"""Payments: what events about money mean for seat changes that were sent, and for automatic purchases.

They are taken note of in the transaction that takes the retrieve over: what this shows as applied is applied,
whatever an event said of its payment before.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.orm import Session

from models import inbox, purchase_reset, seat_change
from models.seat_change import ChangeState, SeatChange
from models.subscription import Subscription
from models.sync_queue import Lease
from providers.base import PaymentKind, PaymentReport, Provider
from services.ledger import failed_changes

_TURNED_ON_BY: Final = {
    PaymentKind.PAID: "a payment",
    PaymentKind.METHOD_REPLACED: "a new payment method",
}
_NEXT_STEP: Final = "Use another payment method, or ask the bank, then preview again."


def take_note(session: Session, provider: Provider, lease: Lease) -> None:
    """Carry out what the events behind the lease say of money; called with the account locked.

    A change whose payment failed has failed, unless the retrieve showed it. After a payment, or with a new
    payment method, purchases that failed before are forgiven.
    """
    if not lease.events or not seat_change.awaits_payment(session, lease.subscription_id):
        return
    account_id = session.get_one(Subscription, lease.subscription_id).account_id
    for body in inbox.newest_bodies(session, lease.events):
        said = provider.read(body, with_state=False).payment
        if said is None:
            continue
        if said.kind is PaymentKind.FAILED:
            _fail(session, lease, said)
        elif account_id is not None:
            purchase_reset.reset(session, account_id, _TURNED_ON_BY[said.kind])


def _fail(session: Session, lease: Lease, said: PaymentReport) -> None:
    """Whose change it is decides the row, not the event: a buyer may set a payment's metadata."""
    change = session.get(SeatChange, said.change_id, with_for_update=True, populate_existing=True)
    if change is None or change.subscription_id != lease.subscription_id:
        return
    if change.state == ChangeState.SUBMITTED:
        refusal = f" ({said.refusal})" if said.refusal else ""
        message = f"The payment failed{refusal}, and nothing has changed. {_NEXT_STEP}"
        failed_changes.fail_unheard(session, change, seat_change.PAYMENT_FAILED, message, helps=False)
