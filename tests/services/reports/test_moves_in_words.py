"""Each row of an explanation says what it is, those without other figures too."""

from __future__ import annotations

from typing import Any

import pytest

from models.audit import AuditRow
from services.reports.moves_in_words import in_words

FULL = {"included": 5, "addon": 0, "contract": 0, "active": 1, "held": 1}


def facts(status: str = "ok", **full: Any) -> dict[str, Any]:
    return {"status": status, "seats": {"full": {**FULL, **full}}}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (facts(), facts(active=2), ["full used 2 -> 3"]),
        (facts(), facts(status="grace"), ["status ok -> grace"]),
        (facts(), facts(addon=2, held=0), ["full purchased 5 -> 7", "full used 2 -> 1"]),
        (facts(), facts(included=0, contract=5), ["full contract 0 -> 5", "full included 5 -> 0"]),
        (facts(waiting=1), facts(), ["full seats to be bought 1 -> 0"]),
        (facts(), facts(deadline="2026-12-01"), ["a grace period of full began, until 2026-12-01"]),
        (facts(deadline="2026-12-01"), facts(), ["the grace period of full ended"]),
        (None, {"status": "ok", "seats": {}}, ["the account was created"]),
        (None, facts(active=0, held=0, included=0), ["the account was created"]),
        (facts(), facts(), ["no figure changed"]),
    ],
)
def test_a_row_says_what_moved(before: Any, after: Any, words: list[str]):
    assert in_words(AuditRow(before=before, after=after)) == words


def test_an_unexpected_figure_is_shown_by_its_name():
    assert in_words(AuditRow(before=facts(), after=facts(odd=3))) == ["full odd 0 -> 3"]


@pytest.mark.parametrize(
    ("was", "is_now", "words"),
    [
        ({"state": "held"}, {"state": "active"}, "the invitation was confirmed"),
        ({"state": "active"}, {"state": "held"}, "active -> held"),
    ],
)
def test_a_member_who_keeps_the_seat_is_described_by_the_new_state(was: Any, is_now: Any, words: str):
    row = AuditRow(
        before=facts(),
        after=facts(active=2, held=0),
        member_id="ada",
        subject_before=was,
        subject_after=is_now,
    )
    assert in_words(row) == [words]
