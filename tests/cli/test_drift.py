"""`seatsync drift`: what does not agree, since when and why, oldest first."""

from __future__ import annotations

import json

import pytest

from domain import findings
from domain.drift import Difference, LikelyCause
from models import drift_finding
from models.database import Sessions
from models.drift_finding import FindingState
from tests.cli.conftest import Business


@pytest.fixture
def found(sessions: Sessions) -> None:
    """sub_1 differs by two fields, one of which is repaired; sub_2 waits for a person."""
    more = findings.differs(Difference("quantity", "1", "3"), LikelyCause.PORTAL_CHANGE)
    paused = findings.differs(Difference("status", "active", "paused"), LikelyCause.LOST_WEBHOOK)
    with sessions.begin() as session:
        drift_finding.record(session, "sub_1", [more, paused])
        drift_finding.record(session, "sub_2", [findings.unknown_product("pdt_new")])
        repaired = drift_finding.page(session, states=[FindingState.OPEN], after=None, limit=10)[1]
        repaired.state, repaired.closed_at = FindingState.REPAIRED, repaired.first_seen


def test_where_all_agrees_it_says_so(business: Business):
    done = business.run("drift")
    assert (done.exit_code, done.stdout) == (0, "No findings.\n")


def test_people_read_what_stands_oldest_first(business: Business, found: None):
    done = business.run("drift")
    first, advice, second, more_advice, *counts = done.stdout.splitlines()
    assert first.endswith("UTC open     sub_1 quantity: 1 -> 3 (portal_change)")
    assert advice.startswith(
        "  quantity is 3 at the provider; the last known value was 1. No webhook announced it"
    )
    assert second.endswith("UTC held     sub_2 product_id: pdt_new (catalogue_change)")
    assert more_advice.startswith("  The catalogue does not know product 'pdt_new'")
    assert counts == ["1 held, likely cause catalogue_change", "1 open, likely cause portal_change"]
    assert done.exit_code == 1


def test_it_tells_since_when(business: Business, found: None):
    business.change("UPDATE drift_findings SET first_seen = '2026-11-01 12:30+00' WHERE subject = 'sub_2'")
    assert "2026-11-01 12:30 UTC held     sub_2" in business.run("drift").stdout


def test_what_is_over_is_shown_on_request(business: Business, found: None):
    done = business.run("drift", "--state", "repaired")
    assert "repaired sub_1 status: active -> paused (lost_webhook)" in done.stdout
    assert "sub_2" not in done.stdout


def test_what_is_over_does_not_stand(business: Business, found: None):
    business.change("UPDATE drift_findings SET state = 'agreed', held_because = NULL, closed_at = now()")
    assert business.run("drift").exit_code == 0
    assert business.run("drift", "--state", "agreed").exit_code == 0


def test_an_exit_code_of_what_is_not_shown_is_explained(business: Business, found: None):
    done = business.run("drift", "--state", "agreed")
    assert (done.exit_code, done.stdout) == (
        1,
        "No findings in this state; 2 unresolved findings in others.\n",
    )


def test_a_side_without_a_value_is_left_out(business: Business, sessions: Sessions):
    with sessions.begin() as session:
        drift_finding.record(session, "sub_3", [findings.addons_missing()])
    shown = business.run("drift").stdout
    assert "held     sub_3 addons (unknown)\n" in shown
    assert "None" not in shown


def test_more_than_the_limit_is_told_by_its_number(business: Business, found: None):
    lines = business.run("drift", "--limit", "1").stdout.splitlines()
    assert lines[2:] == [
        "... and 1 more; raise --limit to see more",
        "1 held, likely cause catalogue_change",
        "1 open, likely cause portal_change",
    ]


def test_programs_read_one_document(business: Business, found: None):
    done = business.run("drift", "--json", "--limit", "1")
    document = json.loads(done.stdout)
    (one,) = document["findings"]
    assert (one["subject"], one["ours"], one["theirs"], one["likely_cause"]) == (
        *("sub_1", "1", "3"),
        "portal_change",
    )
    assert document["counts"] == [
        {"state": "held", "likely_cause": "catalogue_change", "count": 1},
        {"state": "open", "likely_cause": "portal_change", "count": 1},
    ]
    assert done.exit_code == 1


def held_id(business: Business) -> int:
    return business.value("SELECT id FROM drift_findings WHERE state = 'held'")


def test_a_held_finding_is_dismissed_with_a_reason(business: Business, found: None):
    number = held_id(business)
    assert f"#{number} " in business.run("drift").stdout
    done = business.run("drift", "--dismiss", str(number), "--reason", "a test product")
    assert (done.exit_code, done.stdout) == (0, "Dismissed: sub_2 product_id (unknown_product).\n")
    assert "sub_2" not in business.run("drift").stdout
    assert "  Dismissed: a test product" in business.run("drift", "--state", "dismissed").stdout


@pytest.mark.parametrize(
    "wrong", [["--dismiss", "1"], ["--reason", "x"], ["--dismiss", "1", "--reason", " "]]
)
def test_a_finding_is_not_dismissed_without_a_reason(business: Business, found: None, wrong: list[str]):
    done = business.run("drift", *wrong)
    assert (done.exit_code, "--reason TEXT together" in done.stderr) == (2, True)


def test_what_cannot_be_dismissed_says_why(business: Business, found: None):
    open_id = business.value("SELECT id FROM drift_findings WHERE state = 'open'")
    for number, why in ((open_id, "Only held findings"), (10**9, "There is no drift finding")):
        done = business.run("drift", "--dismiss", str(number), "--reason", "x")
        assert (done.exit_code, why in done.stderr) == (2, True)
