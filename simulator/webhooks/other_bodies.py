"""Plausible data for events that are not about the state of a subscription."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.billing.subscription import Subscription
from simulator.ids import Ids

Body = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContext:
    """What the data is made from. `action` is the part of the event type after the dot."""

    action: str
    subscription: Subscription
    now: datetime
    business_id: str
    ids: Ids

    @property
    def owner(self) -> Body:
        """The fields that most events have."""
        return {
            "brand_id": self.subscription.brand_id,
            "business_id": self.business_id,
            "created_at": self.now,
        }

    @property
    def customer_id(self) -> str:
        return self.subscription.customer.customer_id


def payment(context: EventContext) -> Body:
    """The payment of a renewal."""
    subscription = context.subscription
    amount = subscription.recurring_pre_tax_amount
    period = {
        "subscription_id": subscription.subscription_id,
        "starts_at": subscription.previous_billing_date,
        "ends_at": subscription.next_billing_date,
        "proration_factor": "1",
    }
    return {
        **context.owner,
        "payment_id": context.ids.new("pay"),
        "subscription_id": subscription.subscription_id,
        "subscription_ids": [subscription.subscription_id],
        "status": context.action,
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
        "service_periods": [period] if context.action == "succeeded" else [],
        "digital_products_delivered": False,
        "includes_usage": False,
        "is_multi_subscription": False,
        "is_update_payment_method": False,
        "disputes": [],
        "refunds": [],
        "error_code": "INSUFFICIENT_FUNDS" if context.action == "failed" else None,
    }


def refund(context: EventContext) -> Body:
    return {
        **context.owner,
        "refund_id": context.ids.new("ref"),
        "payment_id": context.ids.new("pay"),
        "status": context.action,
        "customer": context.subscription.customer,
        "metadata": context.subscription.metadata,
        "amount": context.subscription.recurring_pre_tax_amount,
        "currency": context.subscription.currency,
        "is_partial": False,
        "reason": None,
    }


def dispute(context: EventContext) -> Body:
    return {
        **context.owner,
        "dispute_id": context.ids.new("dsp"),
        "payment_id": context.ids.new("pay"),
        "amount": str(context.subscription.recurring_pre_tax_amount),
        "currency": context.subscription.currency,
        "dispute_stage": "dispute",
        "dispute_status": f"dispute_{context.action}",
    }


def license_key(context: EventContext) -> Body:
    return {
        **context.owner,
        "id": context.ids.new("lic"),
        "key": context.ids.new("key"),
        "customer_id": context.customer_id,
        "product_id": context.subscription.product_id,
        "subscription_id": context.subscription.subscription_id,
        "instances_count": 0,
        "source": "auto",
        "status": "active",
    }


def payout(context: EventContext) -> Body:
    return {
        **context.owner,
        "payout_id": context.ids.new("pyt"),
        "status": {"created": "not_initiated"}.get(context.action, context.action),
        "amount": 125000,
        "currency": context.subscription.currency,
        "fee": 500,
        "tax": 0,
        "refunds": 0,
        "chargebacks": 0,
        "payment_method": "bank_transfer",
        "updated_at": context.now,
    }


def credit(context: EventContext) -> Body:
    """An entry in the credit ledger, or the warning of a low balance."""
    entitlement = {"credit_entitlement_id": context.ids.new("cde"), "customer_id": context.customer_id}
    if context.action == "balance_low":
        return {
            **entitlement,
            "brand_id": context.subscription.brand_id,
            "credit_entitlement_name": "Credits",
            "subscription_id": context.subscription.subscription_id,
            "subscription_credits_amount": "100",
            "available_balance": "9",
            "threshold_amount": "10",
            "threshold_percent": 10,
        }
    unprefixed = {"overage_charged", "overage_reset", "rollover_forfeited", "manual_adjustment"}
    return {
        **context.owner,
        **entitlement,
        "id": context.ids.new("cle"),
        "amount": "10",
        "balance_before": "90",
        "balance_after": "100",
        "overage_before": "0",
        "overage_after": "0",
        "is_credit": context.action == "added",
        "metadata": {},
        "transaction_type": context.action if context.action in unprefixed else f"credit_{context.action}",
    }


def abandoned_checkout(context: EventContext) -> Body:
    is_recovered = context.action == "recovered"
    return {
        "brand_id": context.subscription.brand_id,
        "customer_id": context.customer_id,
        "payment_id": context.ids.new("pay"),
        "recovered_payment_id": context.ids.new("pay") if is_recovered else None,
        "abandoned_at": context.now - timedelta(hours=1),
        "abandonment_reason": "checkout_incomplete",
        "status": "recovered" if is_recovered else "abandoned",
    }


def dunning(context: EventContext) -> Body:
    return {
        "brand_id": context.subscription.brand_id,
        "created_at": context.now,
        "customer_id": context.customer_id,
        "subscription_id": context.subscription.subscription_id,
        "payment_id": None,
        "status": "recovered" if context.action == "recovered" else "recovering",
        "trigger_state": "on_hold",
    }


def entitlement_grant(context: EventContext) -> Body:
    """An entitlement grant, whose statuses are capitalised."""
    return {
        **context.owner,
        "id": context.ids.new("egr"),
        "entitlement_id": context.ids.new("ent"),
        "customer_id": context.customer_id,
        "subscription_id": context.subscription.subscription_id,
        "integration_type": "feature_flag",
        "metadata": {},
        "status": {"created": "Pending"}.get(context.action, context.action.capitalize()),
        "revocation_reason": "subscription_cancelled" if context.action == "revoked" else None,
        "updated_at": context.now,
    }


FAMILIES: Mapping[str, tuple[str, Callable[[EventContext], Body]]] = {
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


def plausible(family: str, context: EventContext) -> Body:
    """The `data` of an event of that family; for an unknown family, only the subscription's id."""
    if family not in FAMILIES:
        name = family.title().replace("_", "")
        return {"payload_type": name, "subscription_id": context.subscription.subscription_id}
    payload_type, body = FAMILIES[family]
    if (family, context.action) == ("credit", "balance_low"):
        payload_type = "CreditBalanceLow"
    return {**body(context), "payload_type": payload_type}
