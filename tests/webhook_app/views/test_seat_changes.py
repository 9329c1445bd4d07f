"""Changing seats over HTTP, against the simulated provider: what is answered, and to whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from domain.catalog.reader import parse
from models.api_key import Scope
from providers.dodo.refusals import REFUSALS
from runtime.wiring import Runtime
from services.purchases import refresh
from services.sync.on_demand import sync_subscription
from simulator.billing.lifecycle import changed as did
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.server import Simulator
from simulator.world import World
from tests.conftest import API_KEY
from tests.providers.stub import Stub, reply
from tests.simulated import CATALOG, CHANGES, applied_writes, sell, units, with_simulator
from tests.webhook_app.conftest import OpenDoor, client_with
from tests.webhook_app.setup_helpers import claimed, key_with, opened, run_sql

pytestmark = pytest.mark.long(seconds=14)

CHANGE = "/v1/accounts/acme/seat-changes"
CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
SEVEN = {"Idempotency-Key": "seven"}


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Eighteen full seats, four viewers and a support contract."""
    return sell(world, service, CART)


@pytest.fixture
def buyer(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


def preview(client: FlaskClient, full: int = 23, **more: Any) -> Any:
    return client.post(f"{CHANGE}/preview", json={"seats": {"full": full}, **more})


def confirm(client: FlaskClient, token: str, **headers: str) -> Any:
    return client.post(CHANGE, json={"token": token}, headers=headers)


def bought(client: FlaskClient, full: int = 23, **more: Any) -> Any:
    return confirm(client, preview(client, full, **more).json["token"])


def purchased(client: FlaskClient) -> int:
    return int(client.get("/v1/accounts/acme/seats").json["seats"]["full"]["purchased"])


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


# What is answered.


def test_a_preview_shows_seats_carts_amounts_and_a_token(buyer: FlaskClient, sold: str):
    answer = preview(buyer)
    shown = answer.json
    assert (answer.status_code, shown["state"], shown["subscription_id"]) == (200, "previewed", sold)
    assert shown["seats"] == {"full": {"before": 18, "after": 23}}
    assert {one["addon_id"]: one["quantity"] for one in shown["cart"]["after"]["addons"]} == {
        **CART,
        "adn_seat": 8,
    }
    assert shown["charged_now"]["amount"] > 0
    assert shown["sentence"].startswith("Adding 5 full seats costs ")
    assert (shown["when"], shown["sent_at"], shown["maximum"]) == ("now", None, {"full": 500})
    assert shown["token"].startswith("sct_")


def test_a_confirmed_preview_is_applied_and_read(buyer: FlaskClient, world: World, sold: str):
    answer = bought(buyer)
    assert (answer.status_code, answer.json["state"], purchased(buyer)) == (200, "applied", 23)
    assert units(world, sold) == {**CART, "adn_seat": 8}


def test_a_change_can_be_read_and_its_token_is_shown_no_more(buyer: FlaskClient):
    done = bought(buyer).json
    assert buyer.get(f"{CHANGE}/{done['change_id']}").json == done
    assert "token" not in done


def test_only_changes_under_way_or_scheduled_are_listed(buyer: FlaskClient):
    bought(buyer)
    preview(buyer, 30)
    waiting = bought(buyer, 20, when="at_renewal").json
    assert buyer.get(CHANGE).json == {"seat_changes": [waiting]}


def test_a_change_whose_payment_waits_is_202_and_gives_no_seats(buyer: FlaskClient, world: World):
    world.board.turn({"plan_change_payment": "waits"})
    answer = bought(buyer)
    assert (answer.status_code, answer.json["state"], purchased(buyer)) == (202, "submitted", 18)


def test_a_repeated_key_returns_the_finished_change(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    token = preview(buyer).json["token"]
    assert confirm(buyer, token, **SEVEN).status_code == 202
    world.apply(sold, actions.settle_plan_change(world, Options(payment="succeeds")), silently=True)
    sync_subscription(service, sold, patience=5)
    answer = confirm(buyer, token, **SEVEN)
    assert (answer.status_code, answer.json["state"]) == (200, "applied")


def test_a_scheduled_change_can_be_taken_back(buyer: FlaskClient, world: World, sold: str):
    waiting = bought(buyer, 12, when="at_renewal")
    assert (waiting.status_code, waiting.json["state"]) == (200, "scheduled")
    taken_back = buyer.delete(f"{CHANGE}/{waiting.json['change_id']}")
    assert (taken_back.status_code, taken_back.json["state"]) == (200, "cancelled")
    assert world.state.get(sold).scheduled_change is None


def test_an_applied_change_cannot_be_cancelled(buyer: FlaskClient):
    done = bought(buyer).json
    assert told(buyer.delete(f"{CHANGE}/{done['change_id']}")) == (409, "not_cancellable")


def test_fewer_seats_than_members_is_409_with_the_leavers(buyer: FlaskClient, service: Runtime):
    claimed(service, *(f"member-{number}" for number in range(12)))
    answer = preview(buyer, 10)
    assert told(answer) == (409, "seats_in_use")
    assert [one["member_id"] for one in answer.json["leavers"]] == ["member-11", "member-10"]
    assert preview(buyer, 10, release="suggested").json["release"] == ["member-11", "member-10"]
    named = ["member-1", "member-2"]
    assert preview(buyer, 10, release=named).json["release"] == named


def test_a_reduction_that_no_cheaper_cart_allows_is_nothing_to_change(buyer: FlaskClient, service: Runtime):
    """Fifteen seats with a pack cost less than fourteen without one."""
    shown = preview(buyer, 14, when="now").json
    assert shown["seats"]["full"]["after"] == 15
    assert shown["renewal"]["amount"] < shown["renewal_before"]["amount"]
    confirm(buyer, shown["token"])
    assert told(preview(buyer, 14)) == (409, "nothing_to_change")


# What cannot be asked.


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"seats": {}},
        {"seats": {"full": -1}},
        {"seats": {"full": "23"}},
        {"seats": {"full": True}},
        {"seats": {"full": 1_000_001}},
        {"seats": {"full": 23}, "when": "tomorrow"},
        {"seats": {"full": 23}, "proration": "free"},
        {"seats": {"full": 23}, "release": "everybody"},
        {"seats": {"full": 23}, "coupon": "FREE"},
    ],
)
def test_a_malformed_preview_is_422_and_names_the_place(client: FlaskClient, body: dict[str, Any]):
    answer = client.post(f"{CHANGE}/preview", json=body)
    assert told(answer) == (422, "invalid_request")
    assert answer.json["errors"]


@pytest.mark.parametrize(
    ("ask", "refusal"),
    [
        (lambda client: preview(client, 18), (409, "nothing_to_change")),
        (lambda client: preview(client, 4), (409, "below_minimum")),
        (lambda client: preview(client, 501), (409, "above_maximum")),
        (lambda client: preview(client, subscription_id="sub_none"), (409, "no_subscription_to_change")),
        (
            lambda client: client.post(f"{CHANGE}/preview", json={"seats": {"guest": 1}}),
            (422, "unknown_seat_type"),
        ),
        (lambda client: confirm(client, "sct_none"), (404, "seat_change_not_found")),
        (lambda client: confirm(client, ""), (422, "invalid_request")),
        (lambda client: client.get(f"{CHANGE}/chg_none"), (404, "seat_change_not_found")),
        (lambda client: client.delete(f"{CHANGE}/chg_none"), (404, "seat_change_not_found")),
        (lambda client: client.get("/v1/accounts/nobody/seat-changes"), (404, "account_not_found")),
        (
            lambda client: client.post(
                "/v1/accounts/nobody/seat-changes/preview", json={"seats": {"full": 1}}
            ),
            (404, "account_not_found"),
        ),
    ],
)
def test_seats_that_cannot_be_bought_are_refused_with_the_reason(
    buyer: FlaskClient, ask: Callable[..., Any], refusal: tuple[int, str]
):
    assert told(ask(buyer)) == refusal


def test_another_account_can_neither_read_nor_confirm_nor_drop_a_change(buyer: FlaskClient, service: Runtime):
    opened(service, "other")
    previewed = preview(buyer).json
    theirs = f"/v1/accounts/other/seat-changes/{previewed['change_id']}"
    token = {"token": previewed["token"]}
    answers = [
        buyer.get(theirs),
        buyer.delete(theirs),
        buyer.post("/v1/accounts/other/seat-changes", json=token),
    ]
    assert {told(answer) for answer in answers} == {(404, "seat_change_not_found")}


def test_a_cart_that_the_catalogue_cannot_count_is_told_and_not_changed(
    buyer: FlaskClient, world: World, sold: str
):
    world.apply(sold, actions.set_cart(world, Options(addons=(AddonUnits("adn_unknown", 1),))), silently=True)
    answer = preview(buyer)
    assert told(answer) == (409, "uncountable")
    assert "does not know add-on 'adn_unknown'" in answer.json["detail"]


# Who may.


@pytest.mark.parametrize("scope", [Scope.READ, Scope.CLAIM])
def test_changing_needs_a_key_for_billing(service: Runtime, open_door: OpenDoor, scope: Scope):
    client = open_door(service, key=key_with(service, scope))
    answers = [preview(client), confirm(client, "sct_1"), client.delete(f"{CHANGE}/chg_1")]
    assert {told(answer) for answer in answers} == {(403, "missing_scope")}


def test_reading_needs_a_key_for_reading(service: Runtime, sold: str, open_door: OpenDoor):
    paths = [CHANGE, f"{CHANGE}/chg_1"]
    reader = open_door(service, key=key_with(service, Scope.READ))
    assert [reader.get(path).status_code for path in paths] == [200, 404]
    payer = open_door(service, key=key_with(service, Scope.BILLING))
    assert [payer.get(path).status_code for path in paths] == [403, 403]


# Asked twice.


def test_one_idempotency_key_gets_one_preview(buyer: FlaskClient):
    wish = {"seats": {"full": 23}}
    first, again = (buyer.post(f"{CHANGE}/preview", json=wish, headers=SEVEN) for _ in range(2))
    assert (first.status_code, first.data) == (200, again.data)
    other = buyer.post(f"{CHANGE}/preview", json={"seats": {"full": 24}}, headers=SEVEN)
    assert told(other) == (422, "idempotency_key_reused")


def test_one_idempotency_key_gets_one_answer_to_a_confirmation(buyer: FlaskClient, world: World):
    token = preview(buyer).json["token"]
    first, again = (confirm(buyer, token, **SEVEN) for _ in range(2))
    assert (first.status_code, first.data) == (200, again.data)
    assert applied_writes(world) == 1


def test_a_token_sent_again_without_a_key_tells_how_it_stands(buyer: FlaskClient, world: World):
    token = preview(buyer).json["token"]
    assert confirm(buyer, token).json == confirm(buyer, token).json
    assert applied_writes(world) == 1


def test_a_token_that_came_to_nothing_is_409_with_the_reason(buyer: FlaskClient, service: Runtime):
    token = preview(buyer).json["token"]
    run_sql(
        service,
        "UPDATE seat_changes SET state = 'failed', sent_at = now(), code = 'not_applied', "
        "message = 'The provider shows no trace.', retry_helps = true",
    )
    answer = confirm(buyer, token)
    assert told(answer) == (409, "not_applied")
    assert (answer.json["state"], answer.json["retry_helps"]) == ("failed", True)


# Three admins at once.


def at_once(work: Callable[[int], None]) -> None:
    """Three threads that begin together; what one of them raises is raised here."""
    gate, raised = threading.Barrier(3), []

    def run(number: int) -> None:
        gate.wait(timeout=10)
        try:
            work(number)
        except Exception as error:  # noqa: BLE001  told below
            raised.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []


@pytest.mark.parametrize(("payment", "status", "seats"), [("succeeds", 200, 23), ("waits", 202, 18)])
def test_of_three_previews_confirmed_at_once_one_is_carried_out_and_two_are_told(
    buyer: FlaskClient, world: World, payment: str, status: int, seats: int
):
    world.board.turn({"plan_change_payment": payment})
    tokens = [preview(buyer).json["token"] for _ in range(3)]
    answers: list[Any] = []
    at_once(lambda n: answers.append(confirm(client_with(buyer.application, API_KEY), tokens[n])))
    refused = [told(answer) for answer in answers if answer.status_code >= 400]
    assert [answer.status_code for answer in answers if answer.status_code < 400] == [status]
    assert set(refused) <= {(409, "change_in_flight"), (409, "subscription_changed")}
    assert (purchased(buyer), applied_writes(world)) == (seats, 1)


def test_three_who_try_until_they_succeed_get_five_seats_each(buyer: FlaskClient, world: World, sold: str):
    refusals = []

    def add_five(_: int) -> None:
        client = client_with(buyer.application, API_KEY)
        for _try in range(50):
            now = purchased(client)
            previewed = preview(client, now + 5)
            if previewed.status_code == 200 and previewed.json["seats"]["full"]["before"] == now:
                answer = confirm(client, previewed.json["token"])
                if answer.status_code == 200:
                    assert answer.json["state"] == "applied"
                    return
                refusals.append(told(answer))
        pytest.fail("nothing came of fifty tries")

    at_once(add_five)
    assert set(refusals) <= {(409, "change_in_flight"), (409, "subscription_changed")}
    there = units(world, sold)
    assert (purchased(buyer), there["adn_seat"] + 10 * there["adn_pack_10"]) == (33, 28)
    assert applied_writes(world) == 3


# What the provider refuses.


def offered() -> Any:
    """The preview that a provider would show for five seats more."""
    charge = {"summary": {"total_amount": 7500, "currency": "EUR"}}
    return {"immediate_charge": charge, "new_plan": subscription(8)}


def subscription(seats: int) -> dict[str, Any]:
    return {
        "subscription_id": "sub_1",
        "status": "active",
        "product_id": "pdt_team",
        "quantity": 1,
        "addons": [{"addon_id": "adn_seat", "quantity": seats}],
        "metadata": {"account_id": "acme"},
        "currency": "EUR",
        "recurring_pre_tax_amount": 1000,
        "next_billing_date": "2026-12-12T00:00:00Z",
    }


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


@pytest.fixture
def scripted(
    runtime: Runtime, stub: Stub, open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    """An account that has eight seats at a provider that says what it is told."""
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    one_way = "\n".join(line for line in CATALOG.splitlines() if "pack" not in line)  # nobody asks for prices
    service = replace(with_simulator(runtime, stub.url), catalog=parse(one_way, "test catalogue"))
    opened(service, "acme")
    run_sql(service, "INSERT INTO subscriptions (id, account_id, linked_by) VALUES ('sub_1', 'acme', 'app')")
    stub.replies = [reply(body=subscription(3))]
    client = open_door(service)
    assert client.post("/v1/accounts/acme/sync").status_code == 200
    return client


def refused_preview(client: FlaskClient, stub: Stub, answer: bytes) -> Any:
    stub.replies = [reply(body=subscription(3)), answer]
    return preview(client, 13)


def refused_change(client: FlaskClient, stub: Stub, answer: bytes) -> Any:
    """The one write is answered so; whatever is asked after that shows that nothing has happened."""
    stub.replies = [reply(body=subscription(3)), reply(body=offered())]
    token = preview(client, 13).json["token"]
    stub.replies = [reply(body=subscription(3)), answer, reply(body=offered()), reply(body=subscription(3))]
    return confirm(client, token)


REFUSED_BY = [refused_preview, refused_change]


def as_told(code: str) -> dict[str, Any]:
    """What the caller has to see of a provider's code."""
    refusal = REFUSALS[code]
    return {
        "status": 422 if refusal.is_about_the_cart else 409,
        "code": refusal.code,
        "detail": f"{refusal.sentence} {refusal.advice}",
        "retry_helps": refusal.retry_helps,
        "provider_code": code,
    }


@pytest.mark.parametrize("refused_by", REFUSED_BY)
def test_every_refusal_of_the_provider_says_what_to_do(
    scripted: FlaskClient, stub: Stub, refused_by: Callable[..., Any]
):
    codes = REFUSALS.keys() - {"NOT_FOUND"}
    answers = {
        code: refused_by(scripted, stub, reply(409, {"code": code, "message": "personal"})) for code in codes
    }
    assert {code: answer.status_code for code, answer in answers.items()} == {
        code: as_told(code)["status"] for code in codes
    }
    assert {
        code: {name: answer.json[name] for name in as_told(code)} for code, answer in answers.items()
    } == {code: as_told(code) for code in codes}


def test_an_unknown_refusal_does_not_repeat_the_providers_text(scripted: FlaskClient, stub: Stub):
    answer = refused_change(scripted, stub, reply(422, {"code": "SOMETHING_NEW", "message": "personal"}))
    assert told(answer) == (409, "change_refused")
    assert "dashboard" in answer.json["detail"]
    assert "personal" not in answer.text


@pytest.mark.parametrize("refused_by", REFUSED_BY)
def test_an_unknown_subscription_says_what_to_check(
    scripted: FlaskClient, stub: Stub, refused_by: Callable[..., Any]
):
    answer = refused_by(scripted, stub, reply(404, {"code": "NOT_FOUND"}))
    assert told(answer) == (409, "subscription_not_at_provider")
    assert answer.json["retry_helps"] is False
    assert "API key" in answer.json["detail"]


def test_a_refusal_is_the_answer_to_its_idempotency_key(scripted: FlaskClient, stub: Stub):
    stub.replies = [reply(body=subscription(3)), reply(404, {"code": "NOT_FOUND"})]
    wish = {"json": {"seats": {"full": 13}}, "headers": SEVEN}
    first, again = (scripted.post(f"{CHANGE}/preview", **wish) for _ in range(2))
    assert (first.status_code, first.data) == (409, again.data)


def test_a_refused_change_is_kept_with_its_reason_and_its_token_is_spent(scripted: FlaskClient, stub: Stub):
    stub.replies = [reply(body=subscription(3)), reply(body=offered())]
    previewed = preview(scripted, 13).json
    stub.replies = [reply(body=subscription(3)), reply(409, {"code": "PREVIOUS_PAYMENT_PENDING"})]
    first, again = (confirm(scripted, previewed["token"]) for _ in range(2))
    assert told(first) == told(again) == (409, "change_in_progress")
    assert (first.json["detail"], first.json["retry_helps"]) == (again.json["detail"], True)
    kept = scripted.get(f"{CHANGE}/{previewed['change_id']}").json
    assert (kept["state"], kept["code"]) == ("failed", "change_in_progress")


# A provider that is away.

KEY_REFUSED = {"code": "UNAUTHORIZED"}
IN_BETWEEN = b"<html>"  # an answer without a code is not the provider's
TURNED_AWAY = [
    (401, KEY_REFUSED, "provider_key_refused"),
    (403, KEY_REFUSED, "provider_key_refused"),
    (429, IN_BETWEEN, "provider_unavailable"),
]
ANSWERED_IN_BETWEEN = [401, 403, 404, 500]
AWAY = [
    *TURNED_AWAY,
    *((status, IN_BETWEEN, "provider_unavailable") for status in ANSWERED_IN_BETWEEN),
]


@pytest.mark.parametrize(("status", "body", "code"), AWAY)
def test_a_provider_that_cannot_be_asked_for_a_price_is_503(
    scripted: FlaskClient, stub: Stub, status: int, body: object, code: str
):
    answer = refused_preview(scripted, stub, reply(status, body))
    assert told(answer) == (503, code)
    assert f"Dodo Payments answered {status}" in answer.json["detail"]


@pytest.mark.parametrize(("status", "body", "code"), TURNED_AWAY)
def test_a_change_that_certainly_did_not_arrive_is_503_and_says_so(
    scripted: FlaskClient, stub: Stub, status: int, body: object, code: str
):
    answer = refused_change(scripted, stub, reply(status, body))
    assert told(answer) == (503, code)
    assert answer.json["detail"].endswith("Nothing was changed: preview again.")


@pytest.mark.parametrize("status", ANSWERED_IN_BETWEEN)
def test_a_change_that_may_have_arrived_is_202_until_it_is_known(
    scripted: FlaskClient, stub: Stub, status: int
):
    answer = refused_change(scripted, stub, reply(status, IN_BETWEEN))
    assert (answer.status_code, answer.json["state"], answer.json["code"]) == (
        202,
        "submitted",
        "outcome_unknown",
    )


@pytest.mark.parametrize("status", [401, 429, 500])
def test_without_a_sync_nothing_is_sent_and_it_is_503(scripted: FlaskClient, stub: Stub, status: int):
    stub.replies = [reply(body=subscription(3)), reply(body=offered())]
    token = preview(scripted, 13).json["token"]
    stub.replies = [reply(status)]
    for answer in (preview(scripted, 13), confirm(scripted, token)):
        assert told(answer) == (503, "provider_unavailable")
        assert "nothing was sent" in answer.json["detail"]
        assert int(answer.headers["Retry-After"]) >= 1


def test_what_was_503_is_done_under_the_same_key_once_the_provider_is_back(buyer: FlaskClient, world: World):
    world.board.turn({"api_500_probability": 1.0, "api_fault_routes": [f"{CHANGES}/preview"]})
    wish = {"json": {"seats": {"full": 23}}, "headers": SEVEN}
    assert buyer.post(f"{CHANGE}/preview", **wish).status_code == 503
    world.board.turn({"api_500_probability": 0.0})
    assert buyer.post(f"{CHANGE}/preview", **wish).status_code == 200


# What the seats document says of it.


def entry(client: FlaskClient) -> dict[str, Any]:
    (shown,) = client.get("/v1/accounts/acme/seats").json["subscriptions"]
    return dict(shown)


def test_without_a_scheduled_change_the_document_has_no_word_of_one(buyer: FlaskClient):
    assert "scheduled_change" not in entry(buyer)


def test_a_scheduled_change_is_shown_with_the_seats_to_come(buyer: FlaskClient):
    purchased(buyer)  # the cache is full
    bought(buyer, 12, when="at_renewal")
    shown = entry(buyer)
    assert shown["scheduled_change"] == {
        "effective_at": shown["next_billing_date"],
        "seats": {"full": 12, "viewer": 4},
    }


def test_one_from_the_portal_is_shown_too_and_gone_when_it_is_taken_back(
    buyer: FlaskClient, simulator: Simulator, sold: str
):
    portal = f"{simulator.control_url}/subscriptions/{sold}/portal"
    requests.post(
        f"{portal}/change-plan", json={"addons": [{"addon_id": "adn_seat", "quantity": 1}]}, timeout=5
    )
    buyer.post("/v1/accounts/acme/sync")
    assert entry(buyer)["scheduled_change"]["seats"] == {"full": 6, "viewer": 0}
    requests.post(f"{portal}/cancel-scheduled-change", timeout=5)
    buyer.post("/v1/accounts/acme/sync")
    assert "scheduled_change" not in entry(buyer)


def test_seats_to_come_that_the_catalogue_cannot_count_are_left_out(
    buyer: FlaskClient, world: World, sold: str
):
    bought(buyer, 12, when="at_renewal")
    unknown = replace(world.state.get(sold).scheduled_change, addons=(AddonUnits("adn_unknown", 1),))
    world.apply(sold, lambda one, _: did(replace(one, scheduled_change=unknown)), silently=True)
    buyer.post("/v1/accounts/acme/sync")
    shown = entry(buyer)
    assert shown["scheduled_change"] == {"effective_at": shown["next_billing_date"]}
