"""Changing and buying at Dodo Payments: what is sent, once, and what is made of every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from dodopayments.types.checkout_session_create_params import CheckoutSessionCreateParams
from dodopayments.types.subscription_change_plan_params import SubscriptionChangePlanParams
from pydantic import ConfigDict, TypeAdapter, with_config

from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.provider_errors import (
    BudgetSpent,
    CartRefused,
    ChangeRefused,
    KeyRefused,
    OutcomeUnknown,
    SubscriptionNotAtProvider,
    TransientError,
)
from domain.purchase.money import Money
from domain.purchase.plan import Buyer, Checkout, LineKind, Plan
from domain.snapshot import AddonQuantity
from providers.dodo.changes import checkout_body, plan_body
from providers.dodo.provider import Dodo
from providers.dodo.refusals import REFUSALS
from providers.http import Client
from providers.rate_limit.budget import Budget, parse_rate
from providers.signature import Verifier
from simulator.server import Simulator
from tests.conftest import PROVIDER_KEY, SECRET
from tests.providers.stub import Stub, closed_port, reply
from tests.simulator.driver import Control

PREVIEW = orjson.loads((Path(__file__).parent / "bodies" / "preview.json").read_bytes())
CHANGE = "POST /subscriptions/*/change-plan"
DROP = "DELETE /subscriptions/*/change-plan/scheduled"
CHECKOUTS = "POST /checkouts"
TWELVE = Cart("pdt_team", 1, (AddonQuantity("adn_seat", 12), AddonQuantity("adn_support", 1)))


@pytest.fixture
def control(simulator: Simulator) -> Iterator[Control]:
    simulator.world.reset()
    with requests.Session() as session:
        control = Control(session, simulator.control_url)
        control.turn(rate_limits=[], drop_probability=1.0)
        yield control


def dodo_at(url: str, key: str = PROVIDER_KEY, patience: float = 6.0, rate: str = "100000/second") -> Dodo:
    budget = Budget(parse_rate(rate))
    client = Client(
        provider="Dodo Payments", base_url=url, api_key=key, budget=budget, answer_seconds=patience
    )
    return Dodo(Verifier([SECRET]), client)


@pytest.fixture
def dodo(simulator: Simulator, control: Control) -> Iterator[Dodo]:
    made = dodo_at(simulator.url)
    yield made
    made.close()


@pytest.fixture
def stubbed(client: Client) -> Dodo:
    return Dodo(Verifier([SECRET]), client)


@pytest.fixture
def sold(control: Control) -> str:
    """A subscription with three seats and a support contract."""
    addons = [{"addon_id": "adn_seat", "quantity": 3}, {"addon_id": "adn_support", "quantity": 1}]
    made = control.create(product_id="pdt_team", addons=addons)
    control.call("DELETE", "/requests")
    return str(made["subscription_id"])


def a_plan(subscription_id: str = "sub_1", **changed: Any) -> Plan:
    usual = Plan(
        subscription_id=subscription_id,
        cart=TWELVE,
        when=When.NOW,
        proration=Proration.PRORATED_IMMEDIATELY,
        prevent_on_failure=True,
    )
    return replace(usual, **changed)


def writes(control: Control) -> list[Any]:
    return list(control.call("GET", "/requests")["writes"])


def at_provider(control: Control, subscription_id: str) -> dict[str, int]:
    addons = control.call("GET", f"/subscriptions/{subscription_id}")["addons"]
    return {addon["addon_id"]: addon["quantity"] for addon in addons}


# What is sent.


def could_be_sent_by_the_sdk(body: Any, params: Any) -> bool:
    """Whether the body is as the SDK describes it, and has no field that it does not have."""
    TypeAdapter(with_config(ConfigDict(extra="forbid"))(params)).validate_python(body, strict=True)
    return True


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("proration", Proration)
@pytest.mark.parametrize("prevent", [True, False])
def test_the_body_of_a_change_is_one_that_the_sdk_could_send(when: When, proration: Proration, prevent: bool):
    plan = a_plan(when=when, proration=proration, prevent_on_failure=prevent)
    assert could_be_sent_by_the_sdk(plan_body(plan, change_id="chg_1"), SubscriptionChangePlanParams)


@pytest.mark.parametrize(
    "buyer", [Buyer(), Buyer(customer_id="cus_1"), Buyer(email="ada@example.com", name="Ada")]
)
def test_the_body_of_a_checkout_is_one_that_the_sdk_could_send(buyer: Buyer):
    body = checkout_body(TWELVE, buyer, metadata={"account_id": "acme"}, return_url="https://app.example/")
    assert could_be_sent_by_the_sdk(body, CheckoutSessionCreateParams)


def test_the_whole_cart_is_sent_once_with_the_id_of_the_change(dodo: Dodo, control: Control, sold: str):
    dodo.change(a_plan(sold), change_id="chg_1")
    (write,) = writes(control)
    assert write["is_applied"]
    assert orjson.loads(write["body"]) == {
        "product_id": "pdt_team",
        "quantity": 1,
        "addons": [{"addon_id": "adn_seat", "quantity": 12}, {"addon_id": "adn_support", "quantity": 1}],
        "proration_billing_mode": "prorated_immediately",
        "effective_at": "immediately",
        "on_payment_failure": "prevent_change",
        "metadata": {"seatsync_change_id": "chg_1"},
    }
    assert at_provider(control, sold) == {"adn_seat": 12, "adn_support": 1}


def test_a_cart_without_addons_says_so_instead_of_saying_nothing(dodo: Dodo, control: Control, sold: str):
    dodo.change(a_plan(sold, cart=Cart("pdt_team", 1), prevent_on_failure=False), change_id="chg_1")
    body = orjson.loads(writes(control)[0]["body"])
    assert body["addons"] == []
    assert "on_payment_failure" not in body
    assert at_provider(control, sold) == {}


def test_an_older_providers_empty_answer_is_success(stubbed: Dodo, stub: Stub):
    stub.replies = [reply(200)]
    stubbed.change(a_plan(), change_id="chg_1")
    assert len(stub.requests) == 1


def test_a_scheduled_change_can_be_dropped(dodo: Dodo, control: Control, sold: str):
    dodo.change(a_plan(sold, when=When.AT_RENEWAL), change_id="chg_1")
    assert dodo.retrieve(sold).scheduled_change is not None
    dodo.drop_scheduled_change(sold)
    assert dodo.retrieve(sold).scheduled_change is None
    assert at_provider(control, sold) == {"adn_seat": 3, "adn_support": 1}


# What a preview says.


def test_every_fact_of_a_preview_is_translated(stubbed: Dodo, stub: Stub):
    stub.replies = [reply(body=PREVIEW)]
    shown = stubbed.preview_change(a_plan())
    assert shown.charged_now == Money(39852, "EUR")
    assert (shown.tax, shown.credit, shown.renewal) == (Money(7452, "EUR"), None, Money(32400, "EUR"))
    assert shown.effective_at == datetime(2026, 11, 21, 14, 5, tzinfo=UTC)
    assert shown.next_billing_date == datetime(2026, 12, 21, 14, 5, tzinfo=UTC)
    assert shown.cart_after == Cart(
        "pdt_1QaZ2WsX3EdC4RfV5TgB6", 1, (AddonQuantity("adn_5XcV6BnM7QwE8RtY9UiO0", 15),)
    )


def test_a_preview_changes_nothing_and_is_what_is_charged(dodo: Dodo, control: Control, sold: str):
    shown = dodo.preview_change(a_plan(sold))
    assert at_provider(control, sold) == {"adn_seat": 3, "adn_support": 1}
    assert shown.cart_after == TWELVE
    dodo.change(a_plan(sold), change_id="chg_1")
    (charge,) = control.payments({"subscription_id": sold})
    assert shown.charged_now == Money(charge["amount"], "EUR")
    assert shown.renewal == Money(dodo.retrieve(sold).recurring_pre_tax_amount or 0, "EUR")


def test_credit_that_is_gained_is_told(dodo: Dodo, sold: str):
    fewer = a_plan(sold, cart=Cart("pdt_team", 1), proration=Proration.PRORATED_IMMEDIATELY_KEEP_CYCLE)
    shown = dodo.preview_change(fewer)
    assert shown.charged_now == Money(0, "EUR")
    assert shown.credit is not None
    assert shown.credit.amount > 0


def without(*path: str) -> Any:
    body = orjson.loads(orjson.dumps(PREVIEW))
    place = body
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return body


@pytest.mark.parametrize(
    "body",
    [
        without("immediate_charge"),
        without("immediate_charge", "summary"),
        without("immediate_charge", "summary", "total_amount"),
        without("immediate_charge", "summary", "currency"),
        without("new_plan"),
        without("new_plan", "addons"),
        without("new_plan", "quantity"),
    ],
)
def test_a_preview_without_its_price_or_its_cart_is_none(stubbed: Dodo, stub: Stub, body: Any):
    stub.replies = [reply(body=body)]
    with pytest.raises(TransientError):
        stubbed.preview_change(a_plan())


def test_a_preview_may_lack_everything_else(stubbed: Dodo, stub: Stub):
    body = orjson.loads(orjson.dumps(PREVIEW))
    del body["immediate_charge"]["summary"]["tax"], body["new_plan"]["next_billing_date"]
    stub.replies = [reply(body=body)]
    shown = stubbed.preview_change(a_plan())
    assert (shown.tax, shown.next_billing_date) == (None, None)


def test_the_lines_of_a_preview_are_translated(stubbed: Dodo, stub: Stub):
    stub.replies = [reply(body=PREVIEW)]
    base, seats = stubbed.preview_change(a_plan()).lines
    assert (base.kind, base.name, base.unit_price) == (LineKind.PRODUCT, "Team", Money(9900, "EUR"))
    assert (seats.kind, seats.quantity, seats.share) == (LineKind.ADDON, 15, 1.0)
    assert (seats.tax, seats.tax_inclusive) == (Money(5175, "EUR"), False)


METER = {"type": "meter", "id": "li_1", "name": "Calls", "currency": "EUR", "units_consumed": "12"}


@pytest.mark.parametrize(
    ("items", "kinds"),
    [
        (None, []),
        ("none", []),
        ([None, 5, {}, {"type": []}, {"type": "gift"}], []),
        ([METER], [LineKind.USAGE]),
        ([{"type": "addon", "quantity": "5", "unit_price": 1.5, "proration_factor": True}], [LineKind.ADDON]),
    ],
)
def test_lines_that_cannot_be_read_are_no_obstacle(
    stubbed: Dodo, stub: Stub, items: Any, kinds: list[LineKind]
):
    body = orjson.loads(orjson.dumps(PREVIEW))
    body["immediate_charge"]["line_items"] = items
    stub.replies = [reply(body=body)]
    lines = stubbed.preview_change(a_plan()).lines
    assert [line.kind for line in lines] == kinds
    assert {(line.quantity, line.unit_price, line.share) for line in lines} <= {(None, None, None)}


def test_a_preview_that_gets_no_answer_is_no_change_whose_outcome_is_unknown(
    dodo: Dodo, control: Control, sold: str
):
    control.turn(api_cut_probability=1.0)
    with pytest.raises(TransientError) as raised:
        dodo.preview_change(a_plan(sold))
    assert not isinstance(raised.value, OutcomeUnknown)


# Refusals.


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_every_code_is_told_with_a_sentence_and_what_to_do(stubbed: Dodo, stub: Stub, code: str, status: int):
    stub.replies = [reply(status, {"code": code, "message": "personal"})]
    with pytest.raises(ChangeRefused) as raised:
        stubbed.open_checkout(TWELVE, Buyer(), metadata={}, return_url=None)
    refusal = REFUSALS[code]
    assert raised.value.message == f"{refusal.sentence} {refusal.advice}"
    assert raised.value.code == refusal.code
    assert raised.value.details == {"provider_code": code, "retry_helps": refusal.retry_helps}
    assert isinstance(raised.value, CartRefused) == refusal.is_about_the_cart


def test_a_code_that_nobody_knows_is_a_refusal_too(stubbed: Dodo, stub: Stub):
    stub.replies = [reply(422, {"code": "SOMETHING_NEW", "message": "personal"})]
    with pytest.raises(ChangeRefused) as raised:
        stubbed.change(a_plan(), change_id="chg_1")
    assert (raised.value.code, raised.value.provider_code) == ("change_refused", "SOMETHING_NEW")
    assert "personal" not in raised.value.message


def waits(control: Control, dodo: Dodo, sold: str) -> None:
    control.turn(plan_change_payment="waits")
    dodo.change(a_plan(sold), change_id="chg_0")


def is_scheduled(_control: Control, dodo: Dodo, sold: str) -> None:
    dodo.change(a_plan(sold, when=When.AT_RENEWAL), change_id="chg_0")


def acted(action: str) -> Callable[[Control, Dodo, str], None]:
    return lambda control, _dodo, sold: control.act({"subscription_id": sold}, action)


def patched(**fields: Any) -> Callable[[Control, Dodo, str], None]:
    return lambda control, _dodo, sold: control.call("PATCH", f"/subscriptions/{sold}", **fields)


def turned(**knobs: Any) -> Callable[[Control, Dodo, str], None]:
    return lambda control, _dodo, _sold: control.turn(**knobs)


def nothing(_control: Control, _dodo: Dodo, _sold: str) -> None:
    """The subscription is as it was."""


SITUATIONS = [
    (waits, {}, "change_in_progress", True),
    (is_scheduled, {}, "change_scheduled", False),
    (acted("past-due"), {}, "subscription_not_active", False),
    (acted("cancel"), {}, "subscription_not_active", False),
    (acted("cancel-at-period-end"), {}, "cancellation_scheduled", False),
    (patched(on_demand=True), {}, "product_not_sold_by_seat", False),
    (
        turned(refuse_proration_when_scheduled=True),
        {"when": When.AT_RENEWAL},
        "proration_not_schedulable",
        False,
    ),
    (nothing, {"cart": Cart("pdt_team", 1, (AddonQuantity("adn_gone", 1),))}, "addon_not_sold", False),
    (nothing, {"cart": Cart("pdt_team", 0)}, "change_malformed", False),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation[2])
def test_what_the_provider_refuses_is_told_alike_by_preview_and_change(
    dodo: Dodo, control: Control, sold: str, situation: Any
):
    happens, changed, code, retry_helps = situation
    happens(control, dodo, sold)
    with pytest.raises(ChangeRefused) as previewed:
        dodo.preview_change(a_plan(sold, **changed))
    with pytest.raises(ChangeRefused) as refused:
        dodo.change(a_plan(sold, **changed), change_id="chg_1")
    assert (refused.value.code, refused.value.retry_helps) == (code, retry_helps)
    assert (previewed.value.code, previewed.value.message) == (code, refused.value.message)


def test_dropping_what_is_not_scheduled_is_told(dodo: Dodo, sold: str):
    with pytest.raises(ChangeRefused) as raised:
        dodo.drop_scheduled_change(sold)
    assert raised.value.code == "nothing_scheduled"


@pytest.mark.parametrize("subscription_id", ["sub_none", ".."])
def test_a_subscription_that_does_not_exist_is_told(dodo: Dodo, subscription_id: str):
    with pytest.raises(SubscriptionNotAtProvider):
        dodo.preview_change(a_plan(subscription_id))
    with pytest.raises(SubscriptionNotAtProvider):
        dodo.change(a_plan(subscription_id), change_id="chg_1")
    with pytest.raises(SubscriptionNotAtProvider):
        dodo.drop_scheduled_change(subscription_id)


def test_a_key_without_write_access_is_told_with_what_is_needed(dodo: Dodo, control: Control, sold: str):
    control.turn(key_is_read_only=True)
    with pytest.raises(KeyRefused, match="write access"):
        dodo.change(a_plan(sold), change_id="chg_1")


# Outcomes that are not clear.


@pytest.mark.parametrize(
    ("knobs", "is_applied"),
    [
        ({"api_cut_probability": 1.0}, True),
        ({"api_cut_before_probability": 1.0}, False),
        ({"api_hang_probability": 1.0, "api_hang_seconds": 0.6}, True),
        ({"api_slow_body_probability": 1.0, "api_slow_body_seconds": 0.6}, True),
        ({"api_malformed_probability": 1.0}, True),
        ({"api_500_probability": 1.0}, False),
    ],
    ids=["cut after", "cut before", "hang", "drip", "not JSON", "500"],
)
def test_without_a_clear_answer_the_outcome_is_unknown_and_nothing_is_sent_again(
    simulator: Simulator, control: Control, sold: str, knobs: Any, is_applied: bool
):
    hasty = dodo_at(simulator.url, patience=0.3)
    control.turn(api_fault_routes=[CHANGE], **knobs)
    with pytest.raises(OutcomeUnknown):
        hasty.change(a_plan(sold), change_id="chg_1")
    hasty.close()
    control.turn(api_fault_routes=[])
    assert (
        control.call("GET", "/requests")["applied"].get(
            "POST /subscriptions/<subscription_id>/change-plan", 0
        )
        == is_applied
    )
    assert len(writes(control)) <= 1
    assert at_provider(control, sold)["adn_seat"] == (12 if is_applied else 3)


@pytest.mark.parametrize(
    ("route", "write"),
    [
        (DROP, lambda dodo, sold: dodo.drop_scheduled_change(sold)),
        (CHECKOUTS, lambda dodo, _: dodo.open_checkout(TWELVE, Buyer(), metadata={}, return_url=None)),
    ],
    ids=["drop", "checkout"],
)
def test_the_other_writes_do_not_guess_either(
    dodo: Dodo, control: Control, sold: str, route: str, write: Callable[[Dodo, str], object]
):
    dodo.change(a_plan(sold, when=When.AT_RENEWAL), change_id="chg_0")
    control.turn(api_fault_routes=[route], api_cut_probability=1.0)
    control.call("DELETE", "/requests")
    with pytest.raises(OutcomeUnknown):
        write(dodo, sold)
    assert len(writes(control)) == 1


@pytest.mark.parametrize("status", [301, 408, 425, 500, 502, 503, 504])
def test_a_status_that_settles_nothing_leaves_the_outcome_unknown(stubbed: Dodo, stub: Stub, status: int):
    stub.replies = [reply(status, {"code": "INTERNAL_SERVER_ERROR"}, Location="http://127.0.0.1:9/")]
    with pytest.raises(OutcomeUnknown):
        stubbed.change(a_plan(), change_id="chg_1")
    assert len(stub.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"done"'])
def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(stubbed: Dodo, stub: Stub, body: bytes):
    stub.replies = [reply(200, body)]
    with pytest.raises(OutcomeUnknown):
        stubbed.change(a_plan(), change_id="chg_1")


def sure_of_it(dodo: Dodo) -> TransientError:
    with pytest.raises(TransientError) as raised:
        dodo.change(a_plan(), change_id="chg_1")
    assert not isinstance(raised.value, OutcomeUnknown)
    return raised.value


def test_a_provider_that_cannot_be_reached_has_changed_nothing():
    sure_of_it(dodo_at(f"http://127.0.0.1:{closed_port()}"))


def test_a_budget_that_is_spent_has_changed_nothing(simulator: Simulator, control: Control, sold: str):
    careful = dodo_at(simulator.url, rate="1/minute")
    careful.change(a_plan(sold), change_id="chg_0")
    assert isinstance(sure_of_it(careful), BudgetSpent)
    assert len(writes(control)) == 1


def test_a_request_that_is_one_too_many_has_changed_nothing(stubbed: Dodo, stub: Stub):
    stub.replies = [reply(429, {"code": "TOO_MANY_REQUESTS"}, Retry_After="7")]
    assert sure_of_it(stubbed).retry_after == pytest.approx(7, abs=1)


# Buying.


def test_a_checkout_leads_to_a_subscription_with_its_cart_and_metadata(dodo: Dodo, control: Control):
    opened = dodo.open_checkout(
        TWELVE,
        Buyer(email="ada@example.com", name="Ada"),
        metadata={"account_id": "acme"},
        return_url="https://app.example.com/",
    )
    assert opened.url.endswith(opened.session_id)
    paid = control.call("POST", f"/checkouts/{opened.session_id}/complete")
    bought = dodo.retrieve(paid["subscription_id"])
    assert (Cart.of(bought), bought.metadata, bought.status) == (TWELVE, {"account_id": "acme"}, "active")


@pytest.mark.parametrize(
    ("cart", "buyer", "code"),
    [
        (Cart("pdt_gone", 1), Buyer(), "not_at_provider"),
        (TWELVE, Buyer(customer_id="cus_none"), "not_at_provider"),
        (Cart("pdt_team", 1, (AddonQuantity("adn_gone", 1),)), Buyer(), "addon_not_sold"),
    ],
)
def test_a_checkout_that_is_refused_is_told(
    dodo: Dodo, control: Control, cart: Cart, buyer: Buyer, code: str
):
    with pytest.raises(CartRefused) as raised:
        dodo.open_checkout(cart, buyer, metadata={}, return_url=None)
    assert raised.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"session_id": "cks_1", "checkout_url": None},
        {"session_id": "cks_1", "checkout_url": "javascript:alert(1)"},
        {"session_id": "", "checkout_url": "https://checkout.example/cks_1"},
    ],
)
def test_a_checkout_that_nobody_could_go_to_is_none(stubbed: Dodo, stub: Stub, body: Any):
    stub.replies = [reply(body=body)]
    with pytest.raises(TransientError):
        stubbed.open_checkout(TWELVE, Buyer(), metadata={}, return_url=None)


def test_a_long_address_is_taken_as_it_is(stubbed: Dodo, stub: Stub):
    url = f"https://checkout.example/?token={'a' * 1000}"
    stub.replies = [reply(body={"session_id": "cks_1", "checkout_url": url})]
    opened = stubbed.open_checkout(TWELVE, Buyer(), metadata={}, return_url=None)
    assert opened == Checkout("cks_1", url)
