"""Plausible bodies for the events that are not about a subscription's own state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.billing.subscription import Subscription
from simulator.ids import Ids

Body = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What a body is made from: `word` is the part of the event type after the dot."""

    word: str
    subscription: Subscription
    now: datetime
    business_id: str
    ids: Ids

    @property
    def owner(self) -> Body:
        """The fields that nearly every body shares."""
        return {
            "brand_id": self.subscription.brand_id,
            "business_id": self.business_id,
            "created_at": self.now,
        }

    @property
    def customer_id(self) -> str:
        return self.subscription.customer.customer_id


def payment(occasion: Occasion) -> Body:
    """The charge of one renewal."""
    subscription = occasion.subscription
    amount = subscription.recurring_pre_tax_amount
    period = {
        "subscription_id": subscription.subscription_id,
        "starts_at": subscription.previous_billing_date,
        "ends_at": subscription.next_billing_date,
        "proration_factor": "1",
    }
    return {
        **occasion.owner,
        "payment_id": occasion.ids.new("pay"),
        "subscription_id": subscription.subscription_id,
        "subscription_ids": [subscription.subscription_id],
        "status": occasion.word,
        "charge_type": "renewal",
        "retry_attempt": 0,
        "billing": subscription.billing,
        "customer": subscription.customer,
        "metadata": subscription.metadata,
        "currency": subscription.currency,
        "total_amount": amount,
        "settlement_currency": subscription.currency,
        "settlement_amount": amount,
        "tax": 0,
        "payment_provider": "dodo",
        "payment_method": "card",
        "payment_method_id": subscription.payment_method_id,
        "service_periods": [period] if occasion.word == "succeeded" else [],
        "digital_products_delivered": False,
        "includes_usage": False,
        "is_multi_subscription": False,
        "is_update_payment_method": False,
        "disputes": [],
        "refunds": [],
        "error_code": "INSUFFICIENT_FUNDS" if occasion.word == "failed" else None,
    }


def refund(occasion: Occasion) -> Body:
    return {
        **occasion.owner,
        "refund_id": occasion.ids.new("ref"),
        "payment_id": occasion.ids.new("pay"),
        "status": occasion.word,
        "customer": occasion.subscription.customer,
        "metadata": occasion.subscription.metadata,
        "amount": occasion.subscription.recurring_pre_tax_amount,
        "currency": occasion.subscription.currency,
        "is_partial": False,
        "reason": None,
    }


def dispute(occasion: Occasion) -> Body:
    return {
        **occasion.owner,
        "dispute_id": occasion.ids.new("dsp"),
        "payment_id": occasion.ids.new("pay"),
        "amount": str(occasion.subscription.recurring_pre_tax_amount),
        "currency": occasion.subscription.currency,
        "dispute_stage": "dispute",
        "dispute_status": f"dispute_{occasion.word}",
    }


def license_key(occasion: Occasion) -> Body:
    return {
        **occasion.owner,
        "id": occasion.ids.new("lic"),
        "key": occasion.ids.new("key"),
        "customer_id": occasion.customer_id,
        "product_id": occasion.subscription.product_id,
        "subscription_id": occasion.subscription.subscription_id,
        "instances_count": 0,
        "source": "auto",
        "status": "active",
    }


def payout(occasion: Occasion) -> Body:
    return {
        **occasion.owner,
        "payout_id": occasion.ids.new("pyt"),
        "status": {"created": "not_initiated"}.get(occasion.word, occasion.word),
        "amount": 125000,
        "currency": occasion.subscription.currency,
        "fee": 500,
        "tax": 0,
        "refunds": 0,
        "chargebacks": 0,
        "payment_method": "bank_transfer",
        "updated_at": occasion.now,
    }


def credit(occasion: Occasion) -> Body:
    """An entry in the credit ledger, or the warning that the balance runs low."""
    entitlement = {"credit_entitlement_id": occasion.ids.new("cde"), "customer_id": occasion.customer_id}
    if occasion.word == "balance_low":
        return {
            **entitlement,
            "brand_id": occasion.subscription.brand_id,
            "credit_entitlement_name": "Credits",
            "subscription_id": occasion.subscription.subscription_id,
            "subscription_credits_amount": "100",
            "available_balance": "9",
            "threshold_amount": "10",
            "threshold_percent": 10,
        }
    kept = {"overage_charged", "overage_reset", "rollover_forfeited", "manual_adjustment"}
    return {
        **occasion.owner,
        **entitlement,
        "id": occasion.ids.new("cle"),
        "amount": "10",
        "balance_before": "90",
        "balance_after": "100",
        "overage_before": "0",
        "overage_after": "0",
        "is_credit": occasion.word == "added",
        "metadata": {},
        "transaction_type": occasion.word if occasion.word in kept else f"credit_{occasion.word}",
    }


def abandoned_checkout(occasion: Occasion) -> Body:
    is_recovered = occasion.word == "recovered"
    return {
        "brand_id": occasion.subscription.brand_id,
        "customer_id": occasion.customer_id,
        "payment_id": occasion.ids.new("pay"),
        "recovered_payment_id": occasion.ids.new("pay") if is_recovered else None,
        "abandoned_at": occasion.now - timedelta(hours=1),
        "abandonment_reason": "checkout_incomplete",
        "status": "recovered" if is_recovered else "abandoned",
    }


def dunning(occasion: Occasion) -> Body:
    return {
        "brand_id": occasion.subscription.brand_id,
        "created_at": occasion.now,
        "customer_id": occasion.customer_id,
        "subscription_id": occasion.subscription.subscription_id,
        "payment_id": None,
        "status": "recovered" if occasion.word == "recovered" else "recovering",
        "trigger_state": "on_hold",
    }


def entitlement_grant(occasion: Occasion) -> Body:
    """Its statuses are capitalised words."""
    return {
        **occasion.owner,
        "id": occasion.ids.new("egr"),
        "entitlement_id": occasion.ids.new("ent"),
        "customer_id": occasion.customer_id,
        "subscription_id": occasion.subscription.subscription_id,
        "integration_type": "feature_flag",
        "metadata": {},
        "status": {"created": "Pending"}.get(occasion.word, occasion.word.capitalize()),
        "revocation_reason": "subscription_cancelled" if occasion.word == "revoked" else None,
        "updated_at": occasion.now,
    }


FAMILIES: Mapping[str, tuple[str, Callable[[Occasion], Body]]] = {
    "payment": ("Payment", payment),
    "refund": ("Refund", refund),
    "dispute": ("Dispute", dispute),
    "license_key": ("LicenseKey", license_key),
    "payout": ("Payout", payout),
    "credit": ("CreditLedgerEntry", credit),
    "abandoned_checkout": ("AbandonedCheckout", abandoned_checkout),
    "dunning": ("DunningAttempt", dunning),
    "entitlement_grant": ("EntitlementGrant", entitlement_grant),
}


def plausible(family: str, occasion: Occasion) -> Body:
    """The `data` of an event of that family; of a family nobody knows, just whom it is about."""
    if family not in FAMILIES:
        name = family.title().replace("_", "")
        return {"payload_type": name, "subscription_id": occasion.subscription.subscription_id}
    payload_type, body = FAMILIES[family]
    if (family, occasion.word) == ("credit", "balance_low"):
        payload_type = "CreditBalanceLow"
    return {**body(occasion), "payload_type": payload_type}
