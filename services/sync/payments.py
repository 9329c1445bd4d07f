"""Apply payment events to seat changes and automatic purchases.

This happens in the transaction that stores the retrieved snapshot, and after it: a change that the snapshot
shows as applied is applied, whatever an event said about its payment.
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
_UNEXPLAINED: Final = "Use another payment method, or ask the bank."


def apply_payment_events(session: Session, provider: Provider, lease: Lease) -> None:
    """Apply the payment events among those behind the lease. The account must be locked.

    A failed payment fails the submitted change that it was for. A payment or a new payment method turns
    automatic purchases on again.
    """
    if not lease.events or not seat_change.awaits_payment(session, lease.subscription_id):
        return
    account_id = session.get_one(Subscription, lease.subscription_id).account_id
    for body in inbox.newest_bodies(session, lease.events):
        payment = provider.read(body, with_state=False).payment
        if payment is None:
            continue
        if payment.kind is PaymentKind.FAILED:
            _fail_change(session, lease, payment)
        elif account_id is not None:
            purchase_reset.reset(session, account_id, _TURNED_ON_BY[payment.kind])


def _fail_change(session: Session, lease: Lease, payment: PaymentReport) -> None:
    change = session.get(SeatChange, payment.change_id, with_for_update=True, populate_existing=True)
    # Buyers can write any id into the metadata of a payment, so it must be a change of this subscription.
    if change is None or change.subscription_id != lease.subscription_id:
        return
    if change.state == ChangeState.SUBMITTED:
        refusal = f" ({payment.refusal})" if payment.refusal else ""
        message = (
            f"The payment failed{refusal}, and nothing has changed. {payment.reason or _UNEXPLAINED} "
            "Preview again if the change is still wanted."
        )
        failed_changes.fail(session, change, seat_change.PAYMENT_FAILED, message, helps=False)
