"""Linking: a mistyped subscription id is noticed before it becomes a link to nothing."""

from __future__ import annotations

import logging

from domain.errors import ProviderError, SubscriptionNotAtProvider
from models.subscription import Subscription
from providers.base import Caller
from runtime.wiring import Runtime

log = logging.getLogger(__name__)


def was_seen(runtime: Runtime, subscription_id: str) -> bool:
    """Whether a sync has seen the subscription, so that the provider need not be asked whether it exists."""
    with runtime.sessions() as session:
        known = session.get(Subscription, subscription_id)
    return known is not None and known.snapshot is not None


def check_at_provider(runtime: Runtime, subscription_id: str) -> None:
    """Raise `SubscriptionNotAtProvider` if the provider says that it has no such subscription.

    A provider that does not answer forbids no link: the app's word is final, and the next sync tells.
    """
    try:
        runtime.provider.retrieve(subscription_id, caller=Caller.INTERACTIVE)
    except SubscriptionNotAtProvider:
        raise SubscriptionNotAtProvider(
            f"The provider knows no subscription {subscription_id!r}, so nothing was linked. Check the id, "
            "and that DODO_PAYMENTS_API_KEY and DODO_PAYMENTS_ENVIRONMENT belong to where it was sold.",
            details={"subscription_id": subscription_id},
        ) from None
    except ProviderError as error:
        log.warning(
            "subscription linked unseen",
            extra={"subscription_id": subscription_id, "error": type(error).__name__},
        )
