"""Lists of products and add-ons, where archived ones are separate lists."""

from __future__ import annotations

import pytest


def listed(provider, path, **query):
    items = provider.call("GET", path, params=query).json()["items"]
    return [item.get("product_id") or item["id"] for item in items]


def test_an_archived_product_has_left_the_list_for_another(control, provider):
    control.call("POST", "/products", product_id="pdt_old", name="Old", price=1, archived=True)
    assert "pdt_old" not in listed(provider, "/products")
    assert listed(provider, "/products", archived="true") == ["pdt_old"]
    assert provider.call("GET", "/products/pdt_old").status_code == 200


def test_an_archived_addon_has_left_the_list_for_another(control, provider):
    control.call("POST", "/addons", id="adn_old", name="Old", price=1, archived=True)
    assert "adn_old" not in listed(provider, "/addons")
    assert listed(provider, "/addons", archived="true") == ["adn_old"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [({}, {True, False}), ({"recurring": "true"}, {True}), ({"recurring": "false"}, {False})],
)
def test_products_are_listed_by_how_they_are_paid(control, provider, query, shown):
    control.call("POST", "/products", product_id="pdt_once", name="Once", price=1, is_recurring=False)
    items = provider.call("GET", "/products", params=query).json()["items"]
    assert {item["is_recurring"] for item in items} == shown


def test_pages_count_from_zero_and_the_last_is_short(control, provider):
    for number in range(10):
        control.call("POST", "/addons", id=f"adn_{number}", name="More", price=1)
    pages = [listed(provider, "/addons", page_number=number) for number in range(3)]
    assert [len(page) for page in pages] == [10, 4, 0]
    assert len(set(pages[0]) | set(pages[1])) == 14


def test_the_sdk_reads_a_product_that_is_sold_once(sdk, control):
    control.call("POST", "/products", product_id="pdt_once", name="Once", price=1, is_recurring=False)
    assert sdk.products.retrieve("pdt_once").price.type == "one_time_price"
    assert [item.product_id for item in sdk.products.list(page_number=0, recurring=False).items] == [
        "pdt_once"
    ]
