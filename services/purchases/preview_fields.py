"""The fields of a preview that the caller is shown before it confirms, as they are stored with the change."""

from __future__ import annotations

from typing import Any

from domain.catalog.model import Catalog, Product
from domain.purchase.choice import Choice
from domain.purchase.plan import Plan, Preview, PreviewLine
from domain.purchase.sentence import ProductMove, sentence
from domain.purchase.steps import cart_to_json, moves_billing_date, prorated_days, renewal_of, shown
from domain.snapshot import SubscriptionSnapshot


def shown_fields(
    catalog: Catalog, snapshot: SubscriptionSnapshot, plan: Plan, chosen: Choice, priced: Preview
) -> dict[str, Any]:
    """The price, the carts and the products before and after, as JSON."""
    old, new = (catalog.products[cart.product_id] for cart in (chosen.before, chosen.after))
    date, days = priced.next_billing_date, prorated_days(priced, snapshot)
    move = ProductMove(
        before=old.name,
        after=new.name,
        lost_seat_types=chosen.lost_seat_types,
        dropped_addons=len(chosen.dropped_addons),
    )
    return {
        "cart": {"before": cart_to_json(chosen.before), "after": cart_to_json(plan.cart)},
        "product": {"before": _product(old), "after": _product(new)},
        "lost_seat_types": list(chosen.lost_seat_types),
        "dropped_addons": list(chosen.dropped_addons),
        "charged_now": shown(priced.charged_now),
        "tax": shown(priced.tax),
        "credit": shown(priced.credit),
        "lines": [_line(line) for line in priced.lines],
        "prorated_days": None if days is None else {"days": days.days, "of": days.of},
        "renewal": shown(priced.renewal),
        "renewal_before": shown(renewal_of(snapshot)),
        "next_billing_date": date.isoformat() if date is not None else None,
        "billing_date_moves": moves_billing_date(priced, snapshot, plan.when),
        "minimum": dict(new.minimum),
        "maximum": dict(new.maximum),
        "sentence": sentence(
            chosen.steps, priced, snapshot, plan.when, move=move if chosen.is_other_product else None
        ),
    }


def _product(product: Product) -> dict[str, str]:
    return {"product_id": product.product_id, "name": product.name, "policy": product.rules.policy}


def _line(line: PreviewLine) -> dict[str, Any]:
    return {
        "kind": line.kind.value,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": shown(line.unit_price),
        "share": line.share,
        "tax": shown(line.tax),
        "tax_inclusive": line.tax_inclusive,
    }
