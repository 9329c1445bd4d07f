"""The index gives the same pages as a plain sorted list."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from simulator.billing.index import FILTERS, SubscriptionIndex
from simulator.billing.subscription import Customer, Subscription

START = datetime(2026, 1, 1, tzinfo=UTC)
BLANK = Subscription(
    subscription_id="",
    product_id="pdt_a",
    customer=Customer(customer_id="cus_a"),
    created_at=START,
    previous_billing_date=START,
    next_billing_date=START,
)
subscriptions = st.builds(
    lambda number, day, status, product: replace(
        BLANK,
        subscription_id=f"sub_{number}",
        created_at=START + timedelta(days=day),
        status=status,
        product_id=product,
    ),
    st.integers(0, 9),
    st.integers(0, 4),
    st.sampled_from(["active", "paused"]),
    st.sampled_from(["pdt_a", "pdt_b"]),
)
moments = st.none() | st.integers(0, 4).map(lambda day: START + timedelta(days=day))
queries = st.fixed_dictionaries(
    {
        "number": st.integers(0, 3),
        "size": st.integers(1, 4),
        "filters": st.dictionaries(
            st.sampled_from(["status", "product_id"]), st.sampled_from(["active", "pdt_a"])
        ),
        "since": moments,
        "until": moments,
    }
)


def expected(subscriptions, *, number, size, filters, since, until):
    matching = [
        each
        for each in subscriptions
        if all(FILTERS[name](each) == value for name, value in filters.items())
        and (since is None or each.created_at >= since)
        and (until is None or each.created_at <= until)
    ]
    matching.sort(key=lambda each: (each.created_at, each.subscription_id), reverse=True)
    return [each.subscription_id for each in matching][number * size : (number + 1) * size]


@given(st.lists(subscriptions), queries)
def test_a_page_is_what_sorting_and_cutting_everything_gives(history, query):
    index, current = SubscriptionIndex(), {}
    for subscription in history:
        before = current.get(subscription.subscription_id)
        if before:
            index.replace(before, subscription)
        else:
            index.add(subscription)
        current[subscription.subscription_id] = subscription
    assert index.page(**query) == expected(current.values(), **query)
