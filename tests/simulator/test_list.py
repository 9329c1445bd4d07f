from __future__ import annotations

import pytest

from simulator.billing.bodies import NOT_IN_LISTS


def test_zero_based_pages_cover_everything_once(control, provider):
    made = control.call("POST", "/subscriptions/bulk", count=35)["ids"]
    seen = [item["subscription_id"] for number in range(4) for item in provider.page(number)]
    assert sorted(seen) == sorted(made)
    assert provider.page(4) == []


def test_a_page_has_ten_items_unless_asked_otherwise(control, provider):
    control.call("POST", "/subscriptions/bulk", count=12)
    assert len(provider.page(0)) == 10


def test_the_newest_come_first(control, provider):
    oldest_first = control.call("POST", "/subscriptions/bulk", count=3)["ids"]
    assert [item["subscription_id"] for item in provider.page(0)] == oldest_first[::-1]


def test_items_have_no_addons_but_the_products_name(control, provider):
    control.create(addons=[{"addon_id": "adn_seat", "quantity": 3}])
    item = provider.page(0)[0]
    assert item.keys().isdisjoint(NOT_IN_LISTS)
    assert item["product_name"] == "Team Pro"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "paused"),
        ("product_id", "pdt_per_user"),
        ("customer_id", "cus_wanted"),
        ("brand_id", "brnd_other"),
        ("cancel_at_next_billing_date", True),
    ],
)
def test_a_filter_keeps_what_matches(control, provider, name, value):
    control.create()
    fields = {"customer": {"customer_id": value}} if name == "customer_id" else {name: value}
    wanted = control.create(**fields)
    found = provider.page(0, **{name: str(value).lower() if value is True else value})
    assert [item["subscription_id"] for item in found] == [wanted["subscription_id"]]


def test_several_filters_must_all_match(control, provider):
    control.create(status="paused")
    control.create(product_id="pdt_per_user")
    wanted = control.create(status="paused", product_id="pdt_per_user")
    found = provider.page(0, status="paused", product_id="pdt_per_user")
    assert [item["subscription_id"] for item in found] == [wanted["subscription_id"]]


def test_a_window_of_creation_times_includes_both_ends(control, provider):
    days = [f"2026-03-0{day}T00:00:00Z" for day in range(1, 5)]
    for day in days:
        control.create(created_at=day)
    found = provider.page(0, created_at_gte=days[1], created_at_lte=days[2])
    assert [item["created_at"][:10] for item in found] == ["2026-03-03", "2026-03-02"]


@pytest.mark.parametrize(
    "query",
    [
        {"page_size": 101},
        {"page_size": 0},
        {"page_number": -1},
        {"status": "trialing"},
        {"created_at_gte": "x"},
    ],
)
def test_a_query_that_makes_no_sense_is_refused(provider, query):
    answer = provider.call("GET", "/subscriptions", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_QUERY_PARAMS")


def test_a_status_filter_follows_the_status(control, provider):
    made = control.create()
    control.act(made, "pause", silently=True)
    assert provider.page(0, status="active") == []
    assert len(provider.page(0, status="paused")) == 1
