"""The customer portal: a link to the provider's page with invoices, payment methods and subscriptions.

Anybody who has the link can act as the customer. So it is neither stored nor logged here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from domain.errors import NoCustomer, NoSubscription, SeveralCustomers
from domain.snapshot import SubscriptionStatus
from models import account, subscription
from models.subscription import Subscription
from runtime.wiring import Runtime

_NEVER_PAID: Final = (SubscriptionStatus.PENDING, SubscriptionStatus.FAILED)


@dataclass(frozen=True, slots=True)
class PortalSession:
    """The link, and the provider's id of the customer whose portal it opens."""

    url: str
    customer_id: str


def open_portal(
    runtime: Runtime, account_id: str, *, subscription_id: str | None, return_url: str | None
) -> PortalSession:
    """Open a portal session for the customer who pays for the account, or for this subscription of it.

    Raises `AccountNotFound`, `NoSubscription`, `NoCustomer`, `SeveralCustomers` if the choice is left open,
    `CustomerNotAtProvider` and the provider's other errors. Safe to repeat: each call gives a new link.
    """
    with runtime.sessions() as session:
        account.get(session, account_id)
        customer_id = _customer(session, account_id, subscription_id)
    return PortalSession(runtime.provider.open_portal(customer_id, return_url=return_url), customer_id)


def _customer(session: Session, account_id: str, subscription_id: str | None) -> str:
    all_of_account = subscription.of_account(session, account_id)
    if subscription_id is not None:
        chosen = [one for one in all_of_account if one.id == subscription_id]
        if not chosen:
            raise NoSubscription(
                f"Account {account_id!r} has no subscription {subscription_id!r}.",
                details={"subscriptions": [one.id for one in all_of_account]},
            )
        customers = _by_customer(chosen)
    else:
        running = subscription.running_subscriptions_of(session, account_id)
        # Whoever paid before must not get the portal's link while somebody else pays, even if it is not known
        # yet who that is.
        customers = _by_customer(running or [one for one in all_of_account if _was_paid(one)])
    if not customers:
        raise NoCustomer(
            f"No customer of the provider is known to pay for account {account_id!r}. Buy a subscription by "
            "checkout, or sync the account (POST /v1/accounts/ACCOUNT_ID/sync).",
            details={"account_id": account_id},
        )
    if len(customers) > 1:
        raise SeveralCustomers(
            f"{len(customers)} customers pay for account {account_id!r}, and each has a portal of their own. "
            'Send the "subscription_id" whose payer is meant.',
            details={"customers": customers},
        )
    return next(iter(customers))


def _was_paid(subscription: Subscription) -> bool:
    verified = subscription.verified
    return verified is not None and verified.status not in _NEVER_PAID


def _by_customer(subscriptions: Sequence[Subscription]) -> Mapping[str, Sequence[str]]:
    """The ids of these subscriptions by the id of the customer who pays, as verified by a sync."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in subscriptions:
        verified = one.verified
        if verified is not None and verified.customer_id is not None:
            found[verified.customer_id].append(one.id)
    return dict(found)
