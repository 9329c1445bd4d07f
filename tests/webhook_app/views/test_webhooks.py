"""The receiver with the real signature check: what is authentic is kept, whatever else it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import Any, get_args

import orjson
import pytest
from dodopayments.types import UnwrapWebhookEvent
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from models.database import connect, session_factory
from models.inbox import InboxEvent
from models.subscription import Subscription
from providers.dodo import provider as dodo
from providers.dodo.provider import Dodo
from runtime.wiring import Runtime
from tests.conftest import SECRET
from tests.webhook_app.conftest import OpenDoor, RecordedWakeUps
from tests.webhook_app.deliveries import (
    ADDRESS,
    OTHER_SECRET,
    deliver,
    encoded,
    envelope,
    signature,
    signed,
)
from tests.webhook_app.setup_helpers import rows
from webhook_app.request_body import MAX_BYTES
from worker.wake_ups import WakeUps

NEW = (202, b'{"received": true, "duplicate": false}')
REPEAT = (200, b'{"received": true, "duplicate": true}')
NOT_AUTHENTIC = (
    b'{"type":"about:blank","title":"Unauthorized","status":401,"code":"invalid_signature",'
    b'"detail":"The signature or timestamp of the delivery is not valid."}'
)
SDK_MODELS = get_args(get_args(UnwrapWebhookEvent)[0])
SDK_TYPES = sorted(get_args(model.model_fields["type"].annotation)[0] for model in SDK_MODELS)


def dodo_with(*secrets: str) -> Dodo:
    return dodo.build(base_url="http://127.0.0.1:9", api_key="a-key", secrets=secrets)


@pytest.fixture
def real(runtime: Runtime) -> Iterator[Runtime]:
    """The runtime with the real provider; its API is nowhere."""
    provider = dodo_with(SECRET)
    yield replace(runtime, provider=provider)
    provider.close()


@pytest.fixture
def sender(real: Runtime, open_door: OpenDoor) -> FlaskClient:
    """The provider: it has no key, only signatures."""
    return open_door(real, key=None)


def inbox(runtime: Runtime) -> list[InboxEvent]:
    with runtime.sessions() as session:
        return session.query(InboxEvent).order_by(InboxEvent.id).all()


def hints(runtime: Runtime) -> dict[str, int]:
    with runtime.sessions() as session:
        return {one.id: one.hint for one in session.query(Subscription)}


# New and repeated.


def test_new_is_202_and_a_repeat_200_each_with_its_exact_body(sender: FlaskClient):
    answers = [deliver(sender) for _ in range(3)]
    assert [(answer.status_code, answer.data) for answer in answers] == [NEW, REPEAT, REPEAT]
    assert {answer.content_type for answer in answers} == {"application/json"}


def test_a_repeated_delivery_is_stored_hinted_and_woken_for_once(
    sender: FlaskClient, real: Runtime, wake_ups: RecordedWakeUps
):
    deliver(sender)
    deliver(sender, age=timedelta(seconds=-5))
    assert (len(inbox(real)), hints(real), wake_ups.woken) == (1, {"sub_1": 1}, ["sub_1"])


def test_a_repeat_of_a_dead_letter_is_a_repeat_that_wakes_a_worker(
    sender: FlaskClient, real: Runtime, wake_ups: RecordedWakeUps
):
    deliver(sender)
    with real.sessions.begin() as session:
        session.execute(text("UPDATE inbox SET state = 'dead', reason = 'gave up after 100 attempts'"))
        session.execute(text("UPDATE subscriptions SET dead_reason = 'gave up after 100 attempts'"))
    answer = deliver(sender)
    assert (answer.status_code, answer.data) == REPEAT
    assert [event.state for event in inbox(real)] == ["pending"]
    assert (hints(real), wake_ups.woken) == ({"sub_1": 2}, ["sub_1", "sub_1"])


def test_the_same_body_under_another_id_is_another_event(sender: FlaskClient, real: Runtime):
    deliver(sender, event_id="msg_1")
    assert deliver(sender, event_id="msg_2").status_code == 202
    assert hints(real) == {"sub_1": 2}


def test_the_signed_body_is_stored_byte_for_byte(sender: FlaskClient, real: Runtime):
    body = b' {"type" : "subscription.updated",\n "data":{"subscription_id":"sub_1", "x": 1.0} }\n'
    deliver(sender, body, "msg_raw")
    kept = inbox(real)[0]
    assert (kept.event_id, kept.provider, kept.state, kept.body) == ("msg_raw", "dodo", "pending", body)


def test_of_many_equal_deliveries_at_one_moment_one_is_new(sender: FlaskClient, real: Runtime):
    at_once, codes = threading.Barrier(8), []

    def send() -> None:
        at_once.wait()
        codes.append(deliver(sender.application.test_client()).status_code)

    senders = [threading.Thread(target=send) for _ in range(8)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    assert sorted(codes) == [200] * 7 + [202]
    assert hints(real) == {"sub_1": 1}


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_the_content_type_does_not_matter(sender: FlaskClient, real: Runtime, content_type: str):
    assert deliver(sender, headers={"Content-Type": content_type}).status_code == 202
    assert inbox(real)[0].state == "pending"


# Not authentic.

BODY = encoded(envelope())
Headers = dict[str, str]
Spoil = Callable[[Headers], Headers]


def without(name: str) -> Spoil:
    return lambda good: {key: value for key, value in good.items() if key != name}


def twice(name: str) -> Spoil:
    """As gunicorn hands a repeated header over."""
    return lambda good: {**good, name: f"{good[name]},{good[name]}"}


def with_signature(make: Callable[[str], str]) -> Spoil:
    return lambda good: {**good, "webhook-signature": make(good["webhook-signature"])}


def resigned(event_id: str | None = None, timestamp: str | None = None, secret: str = SECRET) -> Spoil:
    """Signed by the rules, over an id, a time or with a secret that will not do."""

    def make(good: Headers) -> Headers:
        named, at = event_id or good["webhook-id"], timestamp or good["webhook-timestamp"]
        proof = signature(BODY, named, at, secret)
        return {"webhook-id": named, "webhook-timestamp": at, "webhook-signature": proof}

    return make


def off_by(seconds: int) -> Spoil:
    return lambda good: resigned(timestamp=str(int(good["webhook-timestamp"]) + seconds))(good)


def written(pattern: str) -> Spoil:
    return lambda good: resigned(timestamp=pattern.format(good["webhook-timestamp"]))(good)


SPOILT: dict[str, Spoil] = {
    "nothing signed": lambda _: {},
    **{f"no {name}": without(name) for name in signed(BODY)},
    **{f"empty {name}": lambda good, name=name: {**good, name: ""} for name in signed(BODY)},
    **{f"two of {name}": twice(name) for name in signed(BODY)},
    "a secret of somebody else": resigned(secret=OTHER_SECRET),
    "another version": with_signature(lambda good: good.replace("v1,", "v2,")),
    "no version": with_signature(lambda good: good.removeprefix("v1,")),
    "upper case version": with_signature(lambda good: good.replace("v1,", "V1,")),
    "no comma": with_signature(lambda _: "v1"),
    "nothing after the comma": with_signature(lambda _: "v1,"),
    "two commas": with_signature(lambda good: good.replace(",", ",,")),
    "not base64": with_signature(lambda _: "v1,!!!!"),
    "base64 without padding": with_signature(lambda good: good.rstrip("=")),
    "half a signature": with_signature(lambda good: good[:20]),
    "not ASCII": with_signature(lambda _: "v1,sïgnatüre"),
    "only blanks": with_signature(lambda _: "   "),
    "the good one past the sixteenth": with_signature(lambda good: "v1,AAAA " * 16 + good),
    "one bit flipped": with_signature(lambda good: good[:5] + ("A" if good[5] != "A" else "B") + good[6:]),
    "another id than signed": lambda good: {**good, "webhook-id": "msg_2"},
    "another time than signed": lambda good: {
        **good,
        "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1),
    },
    "an id with a full stop": resigned(event_id="msg.1"),
    "an id with a blank": resigned(event_id="msg 1"),
    "an id of 129 characters": resigned(event_id="m" * 129),
    "an id of 10 000 characters": resigned(event_id="m" * 10_000),
    "stale": off_by(-310),
    "from the future": off_by(310),
    "long ago": resigned(timestamp="0"),
    "beyond all calendars": resigned(timestamp="9" * 11),
    "beyond all numbers": resigned(timestamp="9" * 5_000),
    "a time with a fraction": written("{}.5"),
    "a time with a sign": written("+{}"),
    "a negative time": written("-{}"),
    "a time with underscores": lambda good: resigned(
        timestamp=good["webhook-timestamp"][:4] + "_" + good["webhook-timestamp"][4:]
    )(good),
    "a time in other digits": lambda good: {
        **good,
        "webhook-timestamp": "١٢٣٤٥٦٧٨٩٠".encode().decode("latin-1"),
    },
    "a date for a time": resigned(timestamp="2026-11-22T12:00:00Z"),
}


def post(sender: FlaskClient, headers: Headers):
    return sender.post(ADDRESS, data=BODY, headers=headers)


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_invalid_signature_is_401_without_details(sender: FlaskClient, real: Runtime, spoil: Spoil):
    answer = post(sender, spoil(signed(BODY)))
    assert (answer.status_code, answer.data) == (401, NOT_AUTHENTIC)
    assert inbox(real) == []


def test_a_body_with_one_byte_changed_is_401(sender: FlaskClient):
    answer = sender.post(ADDRESS, data=BODY.replace(b"sub_1", b"sub_2"), headers=signed(BODY))
    assert (answer.status_code, answer.data) == (401, NOT_AUTHENTIC)


@pytest.mark.parametrize("spoil", [off_by(-290), off_by(290)], ids=["a bit old", "a bit early"])
def test_clocks_may_differ_by_almost_five_minutes(sender: FlaskClient, spoil: Spoil):
    assert post(sender, spoil(signed(BODY))).status_code == 202


def test_one_good_signature_among_others_is_enough(sender: FlaskClient):
    spoil = with_signature(lambda good: f"v2,AAAA v1,!! v1,AAAA {good}")
    assert post(sender, spoil(signed(BODY))).status_code == 202


def test_while_secrets_rotate_both_are_taken_and_no_third(runtime: Runtime, open_door: OpenDoor):
    both = replace(runtime, provider=dodo_with(OTHER_SECRET, SECRET))
    sender = open_door(both, key=None)
    third = "whsec_" + "QUJD" * 8
    codes = [
        deliver(sender, event_id=f"msg_{number}", secret=secret).status_code
        for number, secret in enumerate([SECRET, OTHER_SECRET, third])
    ]
    assert codes == [202, 202, 401]


PIECES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40),
    st.sampled_from(["msg_1", "v1,", "v1,AAAA", "v1,AAAA v1,AAAA", "v1a,AAAA", str(int(time.time())), "0"]),
)
ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "content-length"]
        ),
        PIECES,
    ),
    max_size=7,
)
PER_TEST = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=200, deadline=None, suppress_health_check=PER_TEST)
@given(headers=ANY_HEADERS, body=st.binary(max_size=300))
def test_without_the_secret_every_request_is_401(sender: FlaskClient, headers, body):
    assert sender.post(ADDRESS, data=body, headers=headers).status_code == 401


# Too large, packed, or for somebody else.


def padded(size: int) -> bytes:
    body = orjson.dumps(envelope(padding=""))
    return body.replace(b'"padding":""', b'"padding":"' + b"x" * (size - len(body)) + b'"')


def chunked(sender: FlaskClient, body: bytes, headers: Headers):
    """Sent in chunks, so without a length, as WSGI servers hand it over."""
    return sender.post(
        ADDRESS,
        input_stream=BytesIO(body),
        headers=headers,
        environ_overrides={
            "CONTENT_LENGTH": "",
            "HTTP_TRANSFER_ENCODING": "chunked",
            "wsgi.input_terminated": True,
        },
    )


def test_one_mebibyte_is_taken(sender: FlaskClient):
    assert deliver(sender, padded(MAX_BYTES)).status_code == 202


def test_one_byte_more_is_413(sender: FlaskClient, real: Runtime):
    answer = deliver(sender, padded(MAX_BYTES + 1))
    assert (answer.status_code, answer.json["code"]) == (413, "request_entity_too_large")
    assert inbox(real) == []


def test_one_byte_more_in_chunks_is_413(sender: FlaskClient, real: Runtime):
    body = padded(MAX_BYTES + 1)
    assert chunked(sender, body, signed(body)).status_code == 413
    assert inbox(real) == []


@pytest.mark.parametrize("body", [BODY, padded(MAX_BYTES)], ids=["few", "one mebibyte"])
def test_chunks_are_taken(sender: FlaskClient, body: bytes):
    assert chunked(sender, body, signed(body)).status_code == 202


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "gzip, identity"])
def test_a_packed_body_is_415(sender: FlaskClient, real: Runtime, coding: str):
    answer = deliver(sender, headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert inbox(real) == []


def test_the_identity_coding_is_none(sender: FlaskClient):
    assert deliver(sender, headers={"Content-Encoding": "identity"}).status_code == 202


@pytest.mark.parametrize("name", ["stripe", "DODO", "dodo%2F", "..", "%00"])
def test_another_provider_is_404(sender: FlaskClient, real: Runtime, name: str):
    answer = sender.post(f"/webhooks/{name}", data=BODY, headers=signed(BODY))
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert inbox(real) == []


# Every event, and what is none.


def test_every_event_of_the_sdk_is_stored_and_those_of_subscriptions_request_a_sync(
    sender: FlaskClient, real: Runtime, wake_ups: RecordedWakeUps
):
    about = {name: f"sub_{number}" for number, name in enumerate(SDK_TYPES)}
    for name, subscription_id in about.items():
        deliver(sender, envelope(name, data={"subscription_id": subscription_id}), subscription_id)
    of_seats = {name for name in SDK_TYPES if name.startswith("subscription.")}
    wanted = {name: "pending" if name in of_seats else "ignored" for name in SDK_TYPES}
    assert {event.type: event.state for event in inbox(real)} == wanted
    assert hints(real) == {about[name]: 1 for name in of_seats}
    assert sorted(wake_ups.woken) == sorted(about[name] for name in of_seats)


def test_the_sdk_knows_48_events_of_which_twelve_are_about_subscriptions():
    of_seats = [name for name in SDK_TYPES if name.startswith("subscription.")]
    assert (len(SDK_TYPES), len(of_seats)) == (48, 12)


@pytest.mark.parametrize(
    ("event_type", "state", "hinted"),
    [("subscription.teleported", "pending", {"sub_1": 1}), ("quota.exhausted", "ignored", {})],
)
def test_an_event_with_a_future_time_is_stored(
    sender: FlaskClient, real: Runtime, event_type: str, state: str, hinted: dict[str, int]
):
    assert deliver(sender, envelope(event_type)).status_code == 202
    assert ([event.state for event in inbox(real)], hints(real)) == ([state], hinted)


def subscribed(**data: Any) -> bytes:
    return encoded(envelope(data={"subscription_id": "sub_1", **data}))


DEAD = {
    "empty": b"",
    "not JSON": b"not json {",
    "not UTF-8": b'{"type": "\xff\xfe"}',
    "UTF-16": '{"type": "subscription.updated"}'.encode("utf-16"),
    "with a byte order mark": b"\xef\xbb\xbf" + BODY,
    "half of it": BODY[:-5],
    "two of it": BODY + BODY,
    "a list": b"[]",
    "a string": b'"subscription.updated"',
    "null": b"null",
    "NaN": b'{"type": NaN}',
    "a number of 400 digits": subscribed(quantity=10**400),
    "a number beyond all floats": subscribed(quantity=1).replace(b": 1}", b": 1e999}"),
    "nested 100 000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects 100 000 deep": b'{"data":' * 100_000,
    "no type": encoded({"data": {"subscription_id": "sub_1"}}),
    "a number for a type": encoded(envelope(7)),
    "an empty type": encoded(envelope("")),
    "a type with NUL": encoded(envelope("subscription.up\0dated")),
    "a type of 10 000 characters": encoded(envelope("subscription." + "x" * 10_000)),
    "no data": encoded({"type": "subscription.updated"}),
    "data that is a list": encoded(envelope(data=[])),
    "data that is null": encoded(envelope(data=None)),
    "no subscription id": encoded(envelope(data={})),
    "a number for a subscription id": subscribed(subscription_id=7),
    "an empty subscription id": subscribed(subscription_id=""),
    "a subscription id with NUL": subscribed(subscription_id="sub\0"),
    "a subscription id with a lone surrogate": subscribed(subscription_id="sub_\ud800"),
    "a subscription id of 10 000 characters": subscribed(subscription_id="s" * 10_000),
    "a lone surrogate anywhere": subscribed(note="\udfff"),
}
PENDING = {
    "nothing but the id": encoded({"type": "subscription.updated", "data": {"subscription_id": "sub_1"}}),
    "64 KiB of metadata": subscribed(metadata={f"key_{n}": "x" * 500 for n in range(130)}),
    "metadata that is a list": subscribed(metadata=[1, 2]),
    "metadata with NUL": subscribed(metadata={"account_id": "a\0b", "\0": "c"}),
    "a huge quantity": subscribed(quantity=10**30, status="active", product_id="pdt_team"),
    "a negative quantity": subscribed(quantity=-(2**63), status="active", product_id="pdt_team"),
    "a quantity that is true": subscribed(quantity=True),
    "add-ons that are a string": subscribed(addons="adn_seat"),
    "an impossible timestamp": encoded(envelope(timestamp="2026-13-45T99:99:99Z")),
    "a timestamp before the calendar": encoded(envelope(timestamp="0001-01-01T00:00:00+14:00")),
    "a number for a timestamp": encoded(envelope(timestamp=10**30)),
    "a business with NUL": encoded(envelope(business_id="bus\0")),
    "nested a thousand deep": BODY[:-1] + b', "deep": ' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "a key that comes twice": BODY[:-1] + b', "type": "subscription.active"}',
}


@pytest.mark.parametrize("body", DEAD.values(), ids=DEAD)
def test_an_unreadable_event_is_202_and_a_dead_letter(sender: FlaskClient, real: Runtime, body: bytes):
    answer = deliver(sender, body)
    assert (answer.status_code, answer.data) == NEW
    (event,) = inbox(real)
    assert (event.state, bool(event.reason), event.body) == ("dead", True, body)
    assert hints(real) == {}


@pytest.mark.parametrize("body", PENDING.values(), ids=PENDING)
def test_an_event_that_names_its_subscription_is_202_and_requests_a_sync(
    sender: FlaskClient, real: Runtime, body: bytes
):
    assert deliver(sender, body).status_code == 202
    assert ([event.state for event in inbox(real)], hints(real)) == (["pending"], {"sub_1": 1})


@pytest.mark.parametrize("subscription_id", ["a/b/../c", "..", "s" * 200, "ünï#?&", "'; DROP TABLE inbox"])
def test_a_subscription_id_may_be_odd(sender: FlaskClient, real: Runtime, subscription_id: str):
    deliver(sender, subscribed(subscription_id=subscription_id))
    assert hints(real) == {subscription_id: 1}


@pytest.mark.parametrize("event_id", ["m" * 128, "a/b//c", "msg:1~!@#$%^&*()", "'--"])
def test_a_message_id_may_be_odd(sender: FlaskClient, real: Runtime, event_id: str):
    assert deliver(sender, event_id=event_id).status_code == 202
    assert inbox(real)[0].event_id == event_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(["subscription.updated", "payment.succeeded", "subscription.", "x"])
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | JSON,
        "business_id": JSON,
        "timestamp": st.datetimes().map(str) | JSON,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "subscription_id": st.just("sub_1") | JSON,
                "status": JSON,
                "product_id": JSON,
                "quantity": JSON,
                "addons": st.lists(JSON) | JSON,
                "metadata": JSON,
                "scheduled_change": JSON,
                "next_billing_date": st.datetimes().map(str) | JSON,
            },
        )
        | JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=PER_TEST)
@given(body=st.binary(max_size=200) | st.one_of(SHAPED, JSON).map(encoded))
def test_whatever_is_authentic_is_taken(sender: FlaskClient, body: bytes):
    assert deliver(sender, body, f"msg_{time.monotonic_ns()}").status_code == 202


# Other businesses.


@pytest.fixture
def ours(real: Runtime, open_door: OpenDoor) -> FlaskClient:
    """A door that knows which business it belongs to."""
    settings = real.settings.model_copy(update={"business_id": "bus_ours"})
    return open_door(replace(real, settings=settings), key=None)


def test_another_business_is_ignored_with_a_finding(
    ours: FlaskClient, real: Runtime, wake_ups: RecordedWakeUps
):
    for event_id in ("msg_1", "msg_2"):
        answer = deliver(ours, envelope(business_id="bus_theirs"), event_id)
        assert (answer.status_code, answer.data) == NEW
    assert {event.state for event in inbox(real)} == {"ignored"}
    assert (hints(real), wake_ups.woken) == ({}, [])
    assert rows(real, "SELECT kind || ' ' || subject FROM drift_findings") == [
        "other_business business:bus_theirs"
    ]


@pytest.mark.parametrize("business_id", ["bus_ours", None])
def test_events_of_our_business_or_without_a_business_are_processed(
    ours: FlaskClient, real: Runtime, business_id: str | None
):
    deliver(ours, envelope(business_id=business_id))
    assert (hints(real), rows(real, "SELECT kind FROM drift_findings")) == ({"sub_1": 1}, [])


def test_an_unreadable_event_of_another_business_is_dead(ours: FlaskClient, real: Runtime):
    deliver(ours, envelope(business_id="bus_theirs", data=None))
    assert [event.state for event in inbox(real)] == ["dead"]


# What may fail behind the door.


def without_database(real: Runtime) -> Runtime:
    nowhere = connect("postgresql://nobody:hunter22@127.0.0.1:9/nothing")
    return replace(real, engine=nowhere, sessions=session_factory(nowhere))


def test_without_the_database_503_at_once_and_the_retry_lands(
    real: Runtime, open_door: OpenDoor, wake_ups: RecordedWakeUps
):
    cut_off = open_door(without_database(real), key=None)
    begun = time.monotonic()
    answer = deliver(cut_off)
    assert time.monotonic() - begun < 1
    assert (answer.status_code, answer.json["code"]) == (503, "not_stored")
    assert answer.headers["Retry-After"] == "1"
    assert wake_ups.woken == []
    again = deliver(open_door(real, key=None), age=timedelta(seconds=-5))
    assert (again.status_code, again.data) == NEW
    assert hints(real) == {"sub_1": 1}


def test_when_the_database_drops_its_connections_the_retry_lands(sender: FlaskClient, real: Runtime):
    deliver(sender)
    with real.engine.begin() as connection:
        mine = "pid <> pg_backend_pid() AND datname = current_database()"
        connection.execute(
            text(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {mine}")
        )
    codes = [deliver(sender, event_id="msg_2").status_code for _ in range(2)]
    real.engine.dispose()
    assert codes in ([503, 202], [202, 200])


class BrokenWakeUps:
    def wake(self, subscription_id: str, delay: float = 0.0) -> None:
        raise RuntimeError("can't start new thread")


def test_a_failing_wake_up_does_not_fail_the_delivery(real: Runtime, open_door: OpenDoor):
    sender = open_door(real, key=None, wakes=BrokenWakeUps())
    answer = deliver(sender)
    assert (answer.status_code, answer.data) == NEW
    assert hints(real) == {"sub_1": 1}


def test_a_hanging_broker_does_not_delay_the_delivery(real: Runtime, open_door: OpenDoor):
    reached, over = threading.Event(), threading.Event()

    def publish(_: object) -> None:
        reached.set()
        over.wait(10)

    sender = open_door(real, key=None, wakes=WakeUps(publish))
    deliver(sender)
    assert reached.wait(5)
    begun = time.monotonic()
    assert deliver(sender, event_id="msg_2").status_code == 202
    assert time.monotonic() - begun < 1
    over.set()


def test_the_wake_up_is_sent_after_the_commit(real: Runtime, open_door: OpenDoor):
    seen = []

    class WatchingWakeUps:
        def wake(self, subscription_id: str, delay: float = 0.0) -> None:
            seen.append(hints(real))

    deliver(open_door(real, key=None, wakes=WatchingWakeUps()))
    assert seen == [{"sub_1": 1}]


# The log.

PERSONAL = {"name": "Ada Lovelace", "email": "ada@example.com", "phone_number": "+441234567"}


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    formatter = logging.Formatter()
    return "\n".join(f"{formatter.format(record)} {vars(record)}" for record in caplog.records)


@pytest.mark.parametrize("is_down", [False, True], ids=["stored", "not stored"])
def test_nothing_personal_or_secret_is_logged(
    real: Runtime, open_door: OpenDoor, caplog: pytest.LogCaptureFixture, *, is_down: bool
):
    caplog.set_level(logging.DEBUG)
    sender = open_door(without_database(real) if is_down else real, key=None)
    body = subscribed(customer=PERSONAL, metadata={"note": PERSONAL["name"]})
    proof = signed(body)["webhook-signature"]
    deliver(sender, body)
    deliver(sender, body, "msg_2", secret=OTHER_SECRET)
    deliver(sender, body[:-3], "msg_3")
    logged = everything_logged(caplog)
    assert "no signature matches" in logged
    secrets = [*PERSONAL.values(), SECRET, SECRET.removeprefix("whsec_"), proof, "hunter22", "payload_type"]
    assert [secret for secret in secrets if secret in logged] == []
