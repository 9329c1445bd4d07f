from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import get_args

import orjson
import pytest
from dodopayments import DodoPayments
from dodopayments.types import (
    Subscription,
    SubscriptionCancelledWebhookEvent,
    SubscriptionPastDueWebhookEvent,
    SubscriptionPlanChangedWebhookEvent,
    WebhookEventType,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from standardwebhooks import Webhook

from domain.drift import LISTED, fingerprint
from domain.provider_errors import (
    BudgetSpent,
    InvalidSignature,
    PermanentError,
    SubscriptionNotAtProvider,
    TransientError,
)
from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot
from providers.base import Event, Priority, Provider
from providers.dodo.provider import Dodo, build
from providers.http import Client
from providers.rate_limit.budget import Budget
from providers.rate_limit.shares import Window
from providers.signature import Verifier
from tests.providers.stub import closed_port, reply

SECRET = "whsec_" + b64encode(b"s" * 32).decode()
SUBSCRIPTION = "sub_7UjM8IkL9OpQ1WeR2TyU3"
SEAT = "adn_5XcV6BnM7QwE8RtY9UiO0"
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
RENEWAL = datetime(2026, 12, 12, 8, 31, 7, 204418, UTC)


def recorded(name):
    return (Path(__file__).parent / "bodies" / f"{name}.json").read_bytes()


def subscription(**changes):
    """A subscription as the API shows it; `...` leaves a field out."""
    whole = orjson.loads(recorded("renewal_failed"))["data"] | changes
    return {field: value for field, value in whole.items() if value is not ...}


def event(event_type="subscription.updated", **changes):
    return orjson.dumps(
        {"type": event_type, "timestamp": "2026-11-22T08:00:00Z", "data": subscription(**changes)}
    )


@pytest.fixture
def dodo(client):
    return Dodo(Verifier([SECRET]), client)


@pytest.fixture(scope="module")
def reader():
    return build(base_url=f"http://127.0.0.1:{closed_port()}", api_key="key", secrets=[SECRET])


def test_an_event_read_without_its_state_says_everything_else(reader):
    whole, envelope = (reader.read(recorded("seats_raised"), with_state=one) for one in (True, False))
    assert envelope == replace(whole, snapshot=None)


def test_the_class_is_a_provider(dodo):
    provider: Provider = dodo
    assert provider.name == "dodo"


RECORDED = {
    "seats_raised": ("subscription.plan_changed", SubscriptionPlanChangedWebhookEvent, "active", 15),
    "renewal_failed": ("subscription.past_due", SubscriptionPastDueWebhookEvent, "past_due", 8),
    "cancellation_scheduled": ("subscription.cancelled", SubscriptionCancelledWebhookEvent, "active", 10),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_body_is_what_the_official_sdk_describes(name):
    TypeAdapter(RECORDED[name][1]).validate_json(recorded(name), strict=True)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_delivery_is_verified_and_read(dodo, name):
    body = recorded(name)
    signature = Webhook(SECRET).sign(msg_id="msg_1", timestamp=NOW, data=body.decode())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": signature,
    }
    event = dodo.read(dodo.verify(list(headers.items()), body, NOW + timedelta(seconds=1)).body)
    event_type, _, status, units = RECORDED[name]
    assert (event.type, event.subscription_id, event.unreadable) == (event_type, SUBSCRIPTION, None)
    assert (event.snapshot.status, event.snapshot.addons) == (status, (AddonQuantity(SEAT, units),))


def test_a_forged_delivery_is_refused(dodo):
    with pytest.raises(InvalidSignature):
        dodo.verify([], recorded("seats_raised"), NOW)


@pytest.mark.parametrize(("seconds", "reason"), [(11, "too old"), (-11, "from the future")])
def test_the_tolerance_of_the_settings_holds_in_both_directions(seconds, reason):
    narrow = build(base_url="http://x", api_key="key", secrets=[SECRET], tolerance=timedelta(seconds=10))
    signature = Webhook(SECRET).sign(msg_id="msg_1", timestamp=NOW, data="{}")
    stamp = str(int(NOW.timestamp()))
    headers = [("webhook-id", "msg_1"), ("webhook-timestamp", stamp), ("webhook-signature", signature)]
    with pytest.raises(InvalidSignature) as refusal:
        narrow.verify(headers, b"{}", NOW + timedelta(seconds=seconds))
    assert refusal.value.reason == reason


def test_every_fact_of_a_subscription_is_translated(reader):
    assert reader.read(recorded("seats_raised")) == Event(
        type="subscription.plan_changed",
        occurred_at=datetime(2026, 11, 21, 14, 5, 33, 871204, UTC),
        business_id="bus_3EdC4RfV5TgB6YhN7UjM8",
        subscription_id=SUBSCRIPTION,
        concerns_seats=True,
        snapshot=SubscriptionSnapshot(
            subscription_id=SUBSCRIPTION,
            status="active",
            product_id="pdt_1QaZ2WsX3EdC4RfV5TgB6",
            quantity=1,
            addons=(AddonQuantity(SEAT, 15),),
            cancel_at_next_billing_date=False,
            next_billing_date=RENEWAL,
            previous_billing_date=datetime(2026, 11, 12, 8, 31, 7, 204418, UTC),
            past_due_ends_at=None,
            recurring_pre_tax_amount=32400,
            currency="EUR",
            customer_id="cus_9bVn2Xc5Lk8Jh1Gf4Ds7A",
            metadata={"workspace_id": "ws_8841"},
            scheduled_change=ScheduledChange(
                "spc_2WsX3EdC", "pdt_1QaZ2WsX3EdC4RfV5TgB6", 1, (AddonQuantity(SEAT, 8),), RENEWAL
            ),
            created_at=datetime(2026, 7, 12, 8, 31, 7, 204418, UTC),
            billing_interval="Month",
            billing_count=1,
        ),
        unreadable=None,
    )


def test_a_deadline_and_a_scheduled_cancellation_are_translated(reader):
    past_due = reader.read(recorded("renewal_failed")).snapshot
    assert past_due.past_due_ends_at == datetime(2026, 12, 15, 8, 40, 10, 998100, UTC)
    assert reader.read(recorded("cancellation_scheduled")).snapshot.cancel_at_next_billing_date


def test_nothing_personal_is_kept(reader):
    said = repr(reader.read(recorded("cancellation_scheduled")))
    for personal in ("tidewater", "Tidewater", "Porto", "Flores", "PT509999999"):
        assert personal not in said


def test_there_are_48_known_types():
    assert len(get_args(WebhookEventType)) == 48


@pytest.mark.parametrize("event_type", [*get_args(WebhookEventType), "subscription.frozen", "brand.new"])
def test_every_type_is_read_and_only_subscriptions_concern_seats(reader, event_type):
    read = reader.read(event(event_type))
    is_ours = event_type.startswith("subscription.")
    assert (read.type, read.subscription_id, read.unreadable) == (event_type, SUBSCRIPTION, None)
    assert read.concerns_seats is is_ours
    assert (read.snapshot is not None) is is_ours


@pytest.mark.parametrize(
    "data", [{}, {"subscription_id": None, "subscription_ids": ["a"]}, {"subscription_id": 7}]
)
def test_other_families_need_no_subscription(reader, data):
    read = reader.read(orjson.dumps({"type": "payment.succeeded", "data": data}))
    assert (read.subscription_id, read.unreadable, read.concerns_seats) == (None, None, False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"type":NaN}', "the body is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "the body is not JSON"),
        (b"[" * 1_000_000, "the body is not JSON"),
        (b'{"q":' + b"9" * 5000 + b"}", "the body is not JSON"),
        (b'{"type":"\\ud800"}', "the body is not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b"{}", "no usable `type`"),
        (b'{"type":7,"data":{}}', "no usable `type`"),
        (b'{"type":"","data":{}}', "no usable `type`"),
        (b'{"type":"a\\u0000b","data":{}}', "no usable `type`"),
        (orjson.dumps({"type": "t" * 201, "data": {}}), "no usable `type`"),
        (b'{"type":"payment.succeeded"}', "`data` is not an object"),
        (b'{"type":"payment.succeeded","data":[]}', "`data` is not an object"),
        (b'{"type":"subscription.active","data":"sub_1"}', "`data` is not an object"),
        (b'{"type":"subscription.active","data":{}}', "no usable `data.subscription_id`"),
        (event(subscription_id=""), "no usable `data.subscription_id`"),
        (event(subscription_id=7), "no usable `data.subscription_id`"),
        (event(subscription_id="a\0b"), "no usable `data.subscription_id`"),
        (event(subscription_id="s" * 201), "no usable `data.subscription_id`"),
    ],
    ids=range(22),
)
def test_an_unusable_body_says_why(reader, body, reason):
    read = reader.read(body)
    assert (read.unreadable, read.snapshot) == (reason, None)


def test_an_unreadable_event_still_tells_what_it_can(reader):
    read = reader.read(
        b'{"type":"subscription.active","business_id":"bus_1","timestamp":"2026-11-22T08:00:00Z"}'
    )
    assert read == Event(
        type="subscription.active", occurred_at=NOW, business_id="bus_1", concerns_seats=True,
        unreadable="`data` is not an object",
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {field: value}
        for field in ("status", "product_id", "quantity")
        for value in (..., None, "", [], {}, True, 5.5, "\0")
    ]
    + [{"quantity": "5"}, {"quantity": 1e19}, {"status": 1}],
    ids=str,
)
def test_without_what_seats_need_there_is_no_snapshot_but_still_a_wake_up_call(reader, change, caplog):
    read = reader.read(event(**change))
    assert (read.snapshot, read.unreadable, read.subscription_id) == (None, None, SUBSCRIPTION)
    assert [record.reason for record in caplog.records] == [f"`{next(iter(change))}`"]


@pytest.mark.parametrize("quantity", [0, -3, 2**31, 2**63])
def test_an_odd_quantity_is_left_to_the_seat_arithmetic(reader, quantity):
    addons = [{"addon_id": "adn_1", "quantity": quantity}]
    snapshot = reader.read(event(quantity=quantity, addons=addons)).snapshot
    assert (snapshot.quantity, snapshot.addons) == (quantity, (AddonQuantity("adn_1", quantity),))


@pytest.mark.parametrize(
    ("addons", "translated"),
    [
        ([], ()),
        ([{"addon_id": "a", "quantity": 1, "name": "x"}], (AddonQuantity("a", 1),)),
        ([{"addon_id": "a", "quantity": 1}] * 2, (AddonQuantity("a", 1),) * 2),
        (..., None),
        (None, None),
        ({}, None),
        ("a", None),
        ([None], None),
        ([{"addon_id": "a"}], None),
        ([{"addon_id": "a", "quantity": True}], None),
        ([{"addon_id": "a", "quantity": 1.0}], None),
        ([{"addon_id": "a", "quantity": "1"}], None),
        ([{"addon_id": 7, "quantity": 1}], None),
        ([{"addon_id": "a", "quantity": 1}, {"addon_id": "", "quantity": 1}], None),
    ],
    ids=str,
)
def test_addons_are_translated_whole_or_unknown(reader, addons, translated):
    assert reader.read(event(addons=addons)).snapshot.addons == translated


OPTIONAL = {
    "cancel_at_next_billing_date": False,
    "next_billing_date": None,
    "previous_billing_date": None,
    "past_due_ends_at": None,
    "recurring_pre_tax_amount": None,
    "currency": None,
    "metadata": None,
    "scheduled_change": None,
}


@pytest.mark.parametrize("wrong", [..., None, [], [{}], 5.5, "\0", {"id": 1}, {"customer_id": 5}], ids=str)
def test_an_optional_field_of_the_wrong_type_counts_as_absent(reader, wrong):
    snapshot = reader.read(event(customer=wrong, **dict.fromkeys(OPTIONAL, wrong))).snapshot
    given = {field: getattr(snapshot, field) for field in OPTIONAL}
    plain = {"id": 1} if wrong == {"id": 1} else {"customer_id": 5} if wrong == {"customer_id": 5} else None
    assert given == OPTIONAL | {"metadata": plain}
    assert snapshot.customer_id is None


@pytest.mark.parametrize("missing", ["id", "product_id", "quantity", "addons"])
def test_half_a_scheduled_change_is_none(reader, missing):
    change = {
        "id": "c",
        "product_id": "p",
        "quantity": 1,
        "addons": [],
        "effective_at": "2026-12-12T00:00:00Z",
    }
    assert reader.read(event(scheduled_change=change)).snapshot.scheduled_change.change_id == "c"
    del change[missing]
    assert reader.read(event(scheduled_change=change)).snapshot.scheduled_change is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
field_names = st.sampled_from(sorted(subscription()))
envelopes = st.fixed_dictionaries(
    {},
    optional={"type": json_values, "timestamp": json_values, "business_id": json_values, "data": json_values},
)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=60) | json_values.map(orjson.dumps) | envelopes.map(orjson.dumps))
def test_no_body_makes_read_raise(reader, body):
    assert isinstance(reader.read(body), Event)


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(field_names, json_values, max_size=4))
def test_no_field_makes_read_raise(reader, changes):
    read = reader.read(event(**changes))
    assert read.unreadable is None or "subscription_id" in changes
    assert "\0" not in repr(read)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 2000), noise=st.binary(min_size=1, max_size=4))
def test_no_damaged_body_makes_read_raise(reader, at, noise):
    body = recorded("seats_raised")
    assert isinstance(reader.read(body[:at] + noise + body[at + len(noise) :]), Event)


# The API


def test_a_subscription_is_retrieved(dodo, stub):
    stub.replies = [reply(body=subscription(status="active"))]
    snapshot = dodo.retrieve(SUBSCRIPTION)
    assert (snapshot.status, snapshot.quantity, snapshot.addons) == ("active", 1, (AddonQuantity(SEAT, 8),))
    assert stub.paths == [f"/subscriptions/{SUBSCRIPTION}"]


def test_the_official_sdk_reads_the_same_from_the_same_answer(dodo, stub):
    stub.replies = [reply(body=subscription(), Content_Type="application/json")]
    with DodoPayments(
        bearer_token="key", base_url=stub.url, max_retries=0, _strict_response_validation=True
    ) as official:
        theirs: Subscription = official.subscriptions.retrieve(SUBSCRIPTION)
    ours = dodo.retrieve(SUBSCRIPTION)
    assert stub.paths[0] == stub.paths[1]
    assert [(a.addon_id, a.quantity) for a in theirs.addons] == [
        (a.addon_id, a.quantity) for a in ours.addons
    ]
    for field in ("status", "product_id", "quantity", "next_billing_date", "currency", "metadata"):
        assert getattr(theirs, field) == getattr(ours, field)


def test_a_previewed_plan_reads_like_any_subscription(dodo, stub):
    plan = orjson.loads(recorded("preview"))["new_plan"]
    stub.replies = [reply(body=plan)]
    assert dodo.retrieve(SUBSCRIPTION).addons == (AddonQuantity(SEAT, 15),)


def test_an_unknown_subscription_is_an_answer(dodo, stub):
    stub.replies = [reply(404, {"code": "NOT_FOUND", "message": "no"})]
    with pytest.raises(SubscriptionNotAtProvider):
        dodo.retrieve(SUBSCRIPTION)


@pytest.mark.parametrize("subscription_id", ["", ".", "..", "a\0", "a\nb", "a" * 201])
def test_an_impossible_id_is_unknown_without_asking(dodo, stub, subscription_id):
    with pytest.raises(SubscriptionNotAtProvider):
        dodo.retrieve(subscription_id)
    assert stub.requests == []


def test_a_refusal_is_passed_on(dodo, stub):
    stub.replies = [reply(422, {"code": "INVALID_REQUEST_PARAMETERS", "message": "no"})]
    with pytest.raises(PermanentError) as refusal:
        dodo.retrieve(SUBSCRIPTION)
    assert not isinstance(refusal.value, SubscriptionNotAtProvider)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        subscription(subscription_id="sub_another"),
        subscription(quantity=None),
        subscription(status=...),
        subscription(product_id=7),
    ],
    ids=range(6),
)
def test_an_answer_that_makes_no_sense_is_transient(dodo, stub, answer):
    stub.replies = [reply(body=answer)]
    with pytest.raises(TransientError):
        dodo.retrieve(SUBSCRIPTION)


def budgeted(stub, requests, seconds=60):
    budget = Budget([Window(requests, seconds)])
    client = Client(provider="P", base_url=stub.url, api_key="key", budget=budget)
    return Dodo(Verifier([SECRET]), client)


def test_people_who_wait_may_ask_when_webhooks_may_not(stub):
    stub.replies = [reply(body=subscription())]
    dodo = budgeted(stub, 10)
    for _ in range(9):
        dodo.retrieve(SUBSCRIPTION)
    with pytest.raises(BudgetSpent):
        dodo.retrieve(SUBSCRIPTION)
    assert dodo.retrieve(SUBSCRIPTION, priority=Priority.INTERACTIVE)
    dodo.close()


def listed(*numbers):
    """List items carry no add-ons (Dodo documentation, list subscriptions)."""
    return [subscription(subscription_id=f"sub_{number}", addons=...) for number in numbers]


def page(items):
    return reply(body={"items": items})


def walk(dodo, **options):
    pages = dodo.pages(created_before=NOW, **options)
    return [[one.subscription_id for one in each.items] for each in pages]


def test_all_pages_are_walked_from_zero_and_none_is_left_out(dodo, stub):
    items = listed(*range(250))
    stub.replies = [page(items[:100]), page(items[100:200]), page(items[200:])]
    assert list(chain(*walk(dodo))) == [item["subscription_id"] for item in items]
    fixed = "page_size=100&created_at_lte=2026-11-22T08%3A00%3A00Z"
    assert stub.paths == [f"/subscriptions?page_number={number}&{fixed}" for number in range(3)]


def test_an_empty_page_is_the_last(dodo, stub):
    stub.replies = [page(listed(*range(100))), page([])]
    assert len(walk(dodo)) == 1


def test_a_page_that_is_not_full_is_known_to_be_the_last(dodo, stub):
    stub.replies = [page(listed(*range(100))), page(listed(100))]
    assert [each.is_last for each in dodo.pages(created_before=NOW)] == [False, True]


def test_no_subscriptions_are_no_pages(dodo, stub):
    stub.replies = [page([])]
    assert walk(dodo) == []


def read_item(dodo, stub, **changes):
    stub.replies = [page([subscription(addons=..., **changes)])]
    ((item,),) = [each.items for each in dodo.pages(created_before=NOW)]
    return item


def test_a_listed_subscription_has_unknown_addons(dodo, stub):
    assert read_item(dodo, stub).read().addons is None


def test_a_listed_subscription_that_cannot_be_read_keeps_its_id(dodo, stub):
    item = read_item(dodo, stub, quantity=None)
    assert (item.subscription_id, item.read()) == (SUBSCRIPTION, None)


@pytest.mark.parametrize("field", LISTED)
def test_each_field_of_a_list_item_changes_its_fingerprint(dodo, stub, field):
    assert read_item(dodo, stub, **{field: "changed"}).fingerprint != read_item(dodo, stub).fingerprint


@pytest.mark.parametrize("field", LISTED)
def test_an_absent_field_gives_another_fingerprint_than_null(dodo, stub, field):
    assert (
        read_item(dodo, stub, **{field: ...}).fingerprint
        != read_item(dodo, stub, **{field: None}).fingerprint
    )


def test_other_fields_do_not_change_the_fingerprint_of_a_list_item(dodo, stub):
    assert read_item(dodo, stub, currency="USD").fingerprint == read_item(dodo, stub).fingerprint


def test_a_list_item_has_another_fingerprint_than_the_retrieved_subscription(dodo, stub):
    item = read_item(dodo, stub)
    assert item.fingerprint != fingerprint(item.read())


def test_the_moment_is_given_in_utc(dodo, stub):
    stub.replies = [page([])]
    later = NOW.astimezone(datetime.fromisoformat("2026-11-22T09:30:00+01:30").tzinfo)
    assert list(dodo.pages(created_before=later)) == []
    assert stub.paths[0].endswith("created_at_lte=2026-11-22T08%3A00%3A00Z")


def test_an_odd_item_does_not_stop_the_walk_nor_shorten_a_page(dodo, stub):
    first = [*listed(*range(96)), None, 7, {"subscription_id": 7}, {"subscription_id": "sub_odd"}]
    stub.replies = [page(first), page(listed(100))]
    assert [len(ids) for ids in walk(dodo)] == [97, 1]


def test_an_interrupted_walk_goes_on_where_it_stopped(dodo, stub):
    stub.replies = [page(listed(*range(100))), reply(500), page(listed(100))]
    seen = []
    with pytest.raises(TransientError):
        seen.extend(dodo.pages(created_before=NOW))
    assert walk(dodo, first_page=1) == [["sub_100"]]
    assert [path[:29] for path in stub.paths] == [f"/subscriptions?page_number={n}&" for n in (0, 1, 1)]


def test_a_list_that_never_ends_is_noticed(dodo, stub):
    stub.replies = [page(listed(*range(100)))]
    with pytest.raises(TransientError, match="twice"):
        walk(dodo)
    assert len(stub.requests) == 2


@pytest.mark.parametrize("answer", [{}, {"items": None}, {"items": {}}, []], ids=str)
def test_a_list_without_items_is_transient(dodo, stub, answer):
    stub.replies = [reply(body=answer)]
    with pytest.raises(TransientError):
        walk(dodo)


def test_a_walk_stops_where_the_reserve_begins(stub):
    items = listed(*range(2000))
    stub.replies = [page(items[start : start + 100]) for start in range(0, 2000, 100)]
    dodo = budgeted(stub, 20, seconds=5)
    with pytest.raises(BudgetSpent):
        walk(dodo)
    assert len(stub.requests) == 12
    dodo.close()
