"""The provider's own SDK, with strict validation, accepts the simulator's responses."""

from __future__ import annotations

import dodopayments
import pytest

from simulator.billing.subscription import Status

STATUSES = list(Status)
SEATS = [{"addon_id": "adn_seat", "quantity": 3}]


@pytest.mark.parametrize("status", STATUSES)
def test_the_sdk_retrieves_a_subscription_of_every_status(sdk, control, status):
    made = control.create(status=status, addons=SEATS)
    found = sdk.subscriptions.retrieve(made["subscription_id"])
    assert (found.status, found.addons[0].quantity) == (status, 3)


@pytest.mark.parametrize("status", STATUSES)
def test_the_sdk_lists_subscriptions_of_every_status(sdk, control, status):
    made = control.create(status=status)
    page = sdk.subscriptions.list(status=status, page_number=0)
    assert [item.subscription_id for item in page.items] == [made["subscription_id"]]


@pytest.mark.parametrize("status", STATUSES)
def test_the_sdk_updates_metadata_in_every_status(sdk, control, status):
    made = control.create(status=status)
    after = sdk.subscriptions.update(made["subscription_id"], metadata={"account_id": "acme", "beta": True})
    assert after.metadata == {"account_id": "acme", "beta": True}


def test_the_sdk_changes_seats(sdk, control):
    made = control.create()
    answer = sdk.subscriptions.change_plan(
        made["subscription_id"],
        product_id="pdt_team",
        quantity=1,
        proration_billing_mode="prorated_immediately",
        addons=[{"addon_id": "adn_seat", "quantity": 7}],
    )
    assert set(answer.to_dict().values()) == {None}
    assert sdk.subscriptions.retrieve(made["subscription_id"]).addons[0].quantity == 7


def test_the_sdk_sees_a_scheduled_change_in_retrieve_and_list(sdk, control):
    made = control.create()
    sdk.subscriptions.change_plan(
        made["subscription_id"],
        product_id="pdt_team",
        quantity=1,
        proration_billing_mode="full_immediately",
        addons=[{"addon_id": "adn_viewer", "quantity": 2}],
        effective_at="next_billing_date",
    )
    found = sdk.subscriptions.retrieve(made["subscription_id"])
    item = sdk.subscriptions.list(page_number=0).items[0]
    assert found.scheduled_change == item.scheduled_change
    assert found.scheduled_change.addons[0].name == "Viewer seat"


def test_the_sdk_reads_a_subscription_with_discounts(sdk, control):
    discount = {
        "discount_id": "dsc_1",
        "business_id": "bus_simulator",
        "amount": 1000,
        "code": "TEN",
        "created_at": "2026-01-05T09:00:00Z",
        "currency_options": [],
        "metadata": {},
        "position": 0,
        "preserve_on_plan_change": True,
        "restricted_to": [],
        "times_used": 1,
        "type": "percentage",
        "cycles_remaining": 2,
    }
    made = control.create(discounts=[discount])
    assert sdk.subscriptions.retrieve(made["subscription_id"]).discounts[0].code == "TEN"
    assert sdk.subscriptions.list(page_number=0).items[0].discounts[0].discount_cycles_remaining == 2


def test_the_sdk_reads_products(sdk):
    listed = {item.product_id for item in sdk.products.list(page_number=0).items}
    product = sdk.products.retrieve("pdt_team")
    assert listed == {"pdt_team", "pdt_per_user"}
    assert product.addons == ["adn_seat", "adn_pack_10", "adn_viewer", "adn_support"]
    assert product.price.type == "recurring_price"


def test_the_sdk_reads_addons(sdk):
    listed = {item.id for item in sdk.addons.list(page_number=0).items}
    assert listed == {"adn_seat", "adn_pack_10", "adn_viewer", "adn_support"}
    assert sdk.addons.retrieve("adn_seat").price == 1500


def test_the_sdk_maps_refusals_to_its_own_errors(sdk):
    with pytest.raises(dodopayments.NotFoundError) as raised:
        sdk.subscriptions.retrieve("sub_nobody")
    assert raised.value.body == {"code": "NOT_FOUND", "message": "Subscription sub_nobody does not exist"}


def test_the_sdk_drops_a_scheduled_change(sdk, control, provider):
    made = control.create()
    provider.change_plan(made, effective_at="next_billing_date")
    sdk.subscriptions.cancel_change_plan(made["subscription_id"])
    assert sdk.subscriptions.retrieve(made["subscription_id"]).scheduled_change is None
