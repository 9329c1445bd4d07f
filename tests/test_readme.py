"""The README's examples work as they stand."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from seats.catalog_file import parse
from tests.conftest import SECRET
from webhook_app.schemas import SeatsDocument

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")
EXAMPLE = HOUSE / "catalog.example.toml"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_shown_seats_document_is_one():
    SeatsDocument.model_validate(json.loads(blocks("json")[0]))


def test_the_shown_piece_of_catalogue_is_part_of_a_valid_one():
    parse(blocks("toml")[0], "README")


def test_the_example_catalogue_is_valid():
    parse(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE.name)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http|#)[^)]+)\)", README))))
def test_every_link_leads_somewhere(target: str):
    assert (HOUSE / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)", README))))
def test_every_make_target_exists(target: str):
    assert re.search(rf"^{target}:", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_shown_receiver_takes_what_is_signed_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTICES_SECRET", SECRET)
    shown: dict[str, Any] = {"__name__": __name__}
    exec(blocks("python")[0], shown)
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
