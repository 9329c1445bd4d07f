"""Checks before the app links a subscription to an account, so that a mistyped id is noticed."""

from __future__ import annotations

import logging

from domain.provider_errors import ProviderError, SubscriptionNotAtProvider
from models.subscription import Subscription
from providers.base import Priority
from runtime.wiring import Runtime

log = logging.getLogger(__name__)


def was_seen(runtime: Runtime, subscription_id: str) -> bool:
    """True if a sync has stored a snapshot of the subscription, so that `check_at_provider` is not needed."""
    with runtime.sessions() as session:
        known = session.get(Subscription, subscription_id)
    return known is not None and known.snapshot is not None


def check_at_provider(runtime: Runtime, subscription_id: str) -> None:
    """Raise `SubscriptionNotAtProvider` if the provider does not know the subscription.

    If the provider cannot be reached, log that and return: the app decides, and the next sync shows what is
    there.
    """
    try:
        runtime.provider.retrieve(subscription_id, priority=Priority.INTERACTIVE)
    except SubscriptionNotAtProvider:
        raise SubscriptionNotAtProvider(
            f"The provider knows no subscription {subscription_id!r}, so nothing was linked. Check the id. "
            "DODO_PAYMENTS_API_KEY and DODO_PAYMENTS_ENVIRONMENT must belong to the business that sold it.",
            details={"subscription_id": subscription_id},
        ) from None
    except ProviderError as error:
        log.warning(
            "subscription not checked before link",
            extra={"subscription_id": subscription_id, "error": type(error).__name__},
        )
