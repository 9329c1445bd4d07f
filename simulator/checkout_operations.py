"""Opens checkout sessions and completes their payment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from simulator.billing.charge import Result
from simulator.billing.checkout import Buyer, CheckoutRequest, CheckoutSession, check_checkout
from simulator.billing.subscription import Customer, Status
from simulator.refusal import Refusal
from simulator.world import World

OUTCOMES = {Result.SUCCEEDED: Status.ACTIVE, Result.FAILED: Status.FAILED}


def open_session(world: World, request: CheckoutRequest) -> CheckoutSession:
    """Open a session for a known or a new customer. Raises `Refusal` if the cart cannot be sold."""
    check_checkout(request, world.catalog)
    with world.state.lock:
        session = CheckoutSession(
            session_id=world.ids.new("cks"),
            request=request,
            customer=_customer(world, request.customer or Buyer()),
            created_at=datetime.now(UTC),
        )
        world.checkouts[session.session_id] = session
        return session


def session_of(world: World, session_id: str) -> CheckoutSession:
    if session_id not in world.checkouts:
        raise Refusal.not_found(f"Checkout session {session_id} does not exist")
    return world.checkouts[session_id]


def pay(world: World, session_id: str, result: Result) -> CheckoutSession:
    """Complete the payment or let it fail; a failed one can be tried again. Either creates a subscription."""
    with world.state.lock:
        session = session_of(world, session_id)
        if session.payment_status == Result.SUCCEEDED:
            raise Refusal.conflict("CHECKOUT_SESSION_COMPLETED", "The session has been paid")
        subscription = world.open({**session.subscription_fields(), "status": OUTCOMES[result]})
        charges = world.ledger.charges(subscription.subscription_id)
        world.checkouts[session_id] = session.paid(
            subscription.subscription_id, result, charges[-1] if charges else None
        )
        return world.checkouts[session_id]


def _customer(world: World, buyer: Buyer) -> Customer:
    """The customer from an earlier purchase, or a new one with the given details."""
    if buyer.customer_id:
        return world.state.customer(buyer.customer_id)
    blank = Customer(customer_id=world.ids.new("cus"), phone_number=buyer.phone_number)
    return replace(blank, email=buyer.email or blank.email, name=buyer.name or blank.name)
