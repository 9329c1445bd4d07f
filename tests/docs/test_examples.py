"""The examples in the manual work as written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from domain import notices
from domain.balance import Balance
from domain.catalog.reader import parse
from domain.counts import Seats
from domain.notices import NoticeType
from models.cancellation import Cancellation
from models.seat_change import SeatChange
from providers.dodo.declines import decline
from services.ledger import cancellations, change_notices
from tests.conftest import SECRET
from tests.docs.manual import EXAMPLE, blocks, languages, pages_with
from webhook_app.schemas.seats import SeatsDocument


def test_every_kind_of_example_is_tested_or_is_output_and_settings_of_other_programs():
    tested = {"bash", "console", "json", "python", "toml"}
    assert languages() == {*tested, "nginx", "sql", "text", "{glossary}", "{toctree}"}


def test_the_examples_that_are_tested_here_are_all_there_are():
    assert {kind: pages_with(kind) for kind in ("json", "python", "toml")} == {
        "json": ["docs/api.md", "docs/ending.md", "docs/notices.md", "docs/seat-changes.md"],
        "python": ["docs/notices.md"],
        "toml": ["docs/catalogue.md"],
    }


def test_the_shown_seats_document_fits_its_schema():
    (shown,) = blocks("docs/api.md", "json")
    SeatsDocument.model_validate(json.loads(shown))


def test_the_shown_data_of_a_notice_has_the_fields_of_a_real_one():
    def balance(used: int) -> dict[str, Any]:
        full = Balance(Seats(included=15), active=used).to_json()
        return {"status": "ok", "deadline": None, "seats": {"full": full}}

    (notice,) = notices.crossings(balance(14), balance(15))
    (shown,) = blocks("docs/notices.md", "json")
    assert notice.type is NoticeType.LIMIT_REACHED
    assert json.loads(shown) == {"account_id": "acme", **notice.data}


def test_the_shown_notice_about_a_change_has_the_fields_and_words_of_a_real_one():
    (shown,) = blocks("docs/seat-changes.md", "json")
    told = json.loads(shown)
    change = SeatChange(id="chg_1", subscription_id="sub_1", plan={"when": "now"}, seats=told["seats"])
    change.code, change.message, change.retry_helps = told["code"], told["reason"], False
    assert {"account_id": "acme", **change_notices.facts_of(change)} == told
    assert str(decline("EXPIRED_CARD")) in told["reason"]


def test_the_shown_notice_about_a_cancellation_has_the_fields_of_a_real_one():
    (shown,) = blocks("docs/ending.md", "json")
    told = json.loads(shown)
    row = Cancellation(id="can_1", token_hash=b"1", subscription_id="sub_1", kind="at_renewal")
    row.ends_at = told["ends_at"]
    assert {"account_id": "acme", **cancellations.facts_of(row)} == told


def test_the_shown_piece_of_a_catalogue_is_valid():
    (shown,) = blocks("docs/catalogue.md", "toml")
    parse(shown, "docs/catalogue.md")


def test_the_example_catalogue_is_valid():
    parse(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)


def test_the_shown_receiver_accepts_only_signed_notices(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTICES_SECRET", SECRET)
    shown: dict[str, Any] = {"__name__": __name__}
    (code,) = blocks("docs/notices.md", "python")
    exec(code, shown)
    receiver, now, body = (
        shown["app"].test_client(),
        datetime.now(UTC),
        '{"type": "t", "timestamp": "", "data": {}}',
    )
    signed = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, body),
    }
    assert receiver.post("/notices", data=body, headers=signed).status_code == 204
    assert receiver.post("/notices", data=body + " ", headers=signed).status_code == 500
