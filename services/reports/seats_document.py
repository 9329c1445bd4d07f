"""The seats document: an account's seats, status and subscriptions as the API returns them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import orjson
from sqlalchemy.orm import Session

from domain.balance import Balance, balances_from_json
from domain.catalog.model import Catalog
from domain.counts import cart_seats
from domain.findings import Uncountable
from domain.purchase.steps import scheduled_cart
from domain.seat_limit import to_json
from domain.snapshot import SubscriptionSnapshot
from models import account
from models.subscription import Subscription, of_account
from services.reports import history


@dataclass(frozen=True, slots=True)
class SeatsPage:
    """A serialised document: its JSON body, and its weak ETag."""

    body: bytes
    etag: str


def read(session: Session, account_id: str, catalog: Catalog, *, stale_after: timedelta) -> dict[str, Any]:
    """The document, read in one snapshot of the database. Raises `AccountNotFound`.

    It is stale if a subscription was not verified within `stale_after`, its last sync failed, or its figures
    are unverified.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    found = account.get(session, account_id)
    subscriptions = of_account(session, account_id)
    now = account.now(session)
    balances = balances_from_json(found.seats)
    deadlines = [found.deadline, *(balance.deadline for balance in balances.values())]
    verified_times = [one.verified_at for one in subscriptions]
    return {
        "account_id": found.id,
        "status": found.status,
        "policy": found.policy,
        "version": found.version,
        "seats": {
            seat_type: seats_of(balance, found.rules_of(seat_type).policy)
            for seat_type, balance in balances.items()
        },
        "subscriptions": [
            shown for one in subscriptions if (shown := _subscription(one, catalog)) is not None
        ],
        "deadline": min(filter(None, deadlines), default=None),
        "as_of": now,
        "verified_at": min(filter(None, verified_times), default=None)
        if None not in verified_times
        else None,
        "stale": any(_is_stale(one, now, stale_after) for one in subscriptions),
        "source": "database",
    }


def read_at(session: Session, account_id: str, moment: datetime) -> dict[str, Any]:
    """The document as it was at `moment`, rebuilt from the audit, which has no versions and billing dates.

    Raises `AccountNotFound`, and `NotKnownThen` for a time before the account's first audit row.
    """
    past = history.account_at(session, account_id, moment)
    deadlines = [past.deadline, *(balance.deadline for balance in past.balances.values())]
    return {
        "account_id": account_id,
        "status": past.status,
        "policy": past.policy,
        "version": None,
        "seats": {
            seat_type: seats_of(balance, past.seat_policies.get(seat_type, past.policy))
            for seat_type, balance in past.balances.items()
        },
        "subscriptions": [
            {
                "subscription_id": subscription_id,
                "status": facts["status"],
                "product_id": facts["product_id"],
                "cancel_at_next_billing_date": None,
                "next_billing_date": None,
            }
            for subscription_id, facts in past.subscriptions.items()
        ],
        "deadline": min(filter(None, deadlines), default=None),
        "as_of": moment,
        "verified_at": None,
        "stale": not all(facts["verified"] for facts in past.subscriptions.values()),
        "source": "audit",
    }


def page(document: dict[str, Any]) -> SeatsPage:
    """Serialise the document."""
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
    return finished(document["account_id"], document["version"], body)


def finished(account_id: str, version: int, body: bytes) -> SeatsPage:
    """The body with its ETag, which changes with the account, its version, and whether the body is stale.

    An id in the body cannot look like the staleness flag, because its quotes would be escaped.
    """
    mark = "-stale" if b'"stale":true' in body else ""
    return SeatsPage(body, f'W/"{crc32(account_id.encode()):x}-{version}{mark}"')


def is_of(body: bytes, account_id: str) -> bool:
    """True if the body begins like this account's document and ends like a complete one."""
    return body.startswith(b'{"account_id":' + orjson.dumps(account_id) + b",") and body.endswith(b"}")


def names(body: bytes, subscription_id: str) -> bool:
    """True if the body lists the subscription."""
    return b'"subscription_id":' + orjson.dumps(subscription_id) in body


def seats_of(balance: Balance, policy: str) -> dict[str, Any]:
    """The figures of one seat type, with the policy that applies to it."""
    times = {"deadline": balance.clock.deadline, "suspends_at": balance.clock.suspends_at}
    return {
        "policy": policy,
        **balance.figures(),
        "included": to_json(balance.seats.included),
        "addon": balance.seats.addon,
        "contract": to_json(balance.seats.contract),
        "active": balance.active,
        "held": balance.held,
        **({"waiting": balance.waiting} if balance.waiting else {}),
        **{name: moment for name, moment in times.items() if moment is not None},
    }


def _subscription(subscription: Subscription, catalog: Catalog) -> dict[str, Any] | None:
    """The subscription by its newest snapshot; None if it was never seen."""
    newest = subscription.newest
    if newest is None:
        return None
    return {
        "subscription_id": subscription.id,
        "status": subscription.figures.status or newest.status,
        "product_id": newest.product_id,
        "cancel_at_next_billing_date": newest.cancel_at_next_billing_date,
        "next_billing_date": newest.next_billing_date,
        **_scheduled(newest, catalog),
    }


def _scheduled(snapshot: SubscriptionSnapshot, catalog: Catalog) -> dict[str, Any]:
    """The scheduled change, if any, with its seats if the catalogue can count them."""
    change, cart = snapshot.scheduled_change, scheduled_cart(snapshot)
    if change is None or cart is None:
        return {}
    shown: dict[str, Any] = {"effective_at": change.effective_at}
    with suppress(Uncountable):
        seats = cart_seats(catalog, cart)
        shown["seats"] = {seat_type: to_json(of_type.purchased) for seat_type, of_type in seats.items()}
    return {"scheduled_change": shown}


def _is_stale(subscription: Subscription, now: datetime, stale_after: timedelta) -> bool:
    """True if the figures are unverified, the last sync failed, or the last verification is too old."""
    is_failing = subscription.last_error is not None
    is_old = subscription.verified_at is None or now - subscription.verified_at > stale_after
    return subscription.unverified is not None or is_failing or is_old
