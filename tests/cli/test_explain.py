"""`seatsync explain`: what a support person needs to answer why it is so many."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from cli.main import cli
from models import api_key
from models.api_key import Scope
from runtime.wiring import Runtime
from services.ledger import claims
from services.ledger.claims import ClaimRequest
from tests.conftest import API_KEY
from tests.factories import a_cause
from tests.webhook_app.conftest import RecordedWakeUps
from tests.webhook_app.setup_helpers import bought, claimed, opened, run_sql
from webhook_app.app import create_app

Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner(env=environment).invoke(cli, ["explain", *arguments], catch_exceptions=False)

    return run


@pytest.fixture(autouse=True)
def acme(runtime: Runtime) -> None:
    bought(runtime, seats=10)
    claimed(runtime, "ada", email="ada@example.com", name="Ada Lovelace")
    claimed(runtime, "gone")
    claimed(runtime, "client", role="client")
    claimed(runtime, "eve", hold=True)
    with runtime.transaction() as session:
        claims.release(session, "acme", "gone", a_cause())


def told(done: Result) -> str:
    """Without what differs from run to run: times and row numbers."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", done.stdout)
    return re.sub(r"row \d+", "row N", text)


def test_everything_is_told(run: Run):
    done = run("acme")
    assert done.exit_code == 0
    assert (
        told(done)
        == """\
acme: ok, policy strict, TIME

full: 2 of 15 used
  purchased: 5 included in Team (pdt_team) + 10 x 1 seat of adn_seat = 15
    5 included in Team (pdt_team): [products.pdt_team] included, by sub_1
    10 x 1 seat of adn_seat: [products.pdt_team] addons.adn_seat, by sub_1
  used: 1 active + 1 held = 2 used; 15 purchased - 2 used = 13 available

viewer: 0 of 0 used
  purchased: no source = 0
  used: 0 active + 0 held = 0 used; 0 purchased - 0 used = 0 available

Sources of seats
  subscription sub_1: status active: its seats count ([status] active = counts)
    1 pdt_team, 10 adn_seat
    last synced: TIME; linked by metadata
    last changed TIME by key:test (test: a test), row N

Changed since TIME: 5
  sub_1: full purchased 0 -> 15; TIME by key:test (test: a test), row N
  ada: full used 0 -> 1; TIME by key:test (test: a test), row N
  gone: full used 1 -> 2; TIME by key:test (test: a test), row N
  eve: full used 2 -> 3; TIME by key:test (test: a test), row N
  gone: full used 3 -> 2; TIME by key:test (test: a test), row N

Counted: 2
  ada (member): holds a full seat, since TIME, by key:test (test)
  eve (member): a full seat is held until the invitation is accepted or expires, since TIME, by key:test (test)

Not counted: 2
  client (client): the role client is free, since TIME, by key:test (test)
  gone (member): the seat was released, since TIME, by key:test (test)
"""  # noqa: E501  as it is printed
    )


def test_members_are_named_by_id_only(run: Run):
    text = run("acme").stdout + run("acme", "--json").stdout
    assert ("example.com" in text, "Lovelace" in text) == (False, False)


def test_as_json_it_is_what_the_door_gives(run: Run, runtime: Runtime):
    client = create_app(runtime, RecordedWakeUps()).test_client()
    headers = {"Authorization": f"Bearer {API_KEY}"}
    given = client.get("/v1/accounts/acme/explain?since=2026-01-01T00:00:00Z", headers=headers).json
    shown = json.loads(run("acme", "--json", "--since", "2026-01-01T00:00:00Z").stdout)
    assert shown.keys() == given.keys()
    assert [row["at"] for row in shown["moves"]["rows"]] == [row["at"] for row in given["moves"]["rows"]]
    assert (shown["seats"], len(shown["moves"]["rows"])) == (given["seats"], len(given["moves"]["rows"]))


def test_rows_without_other_figures_say_what_they_are(run: Run, runtime: Runtime):
    opened(runtime, "new")
    with runtime.transaction() as session:
        claims.claim(
            session, "acme", ClaimRequest(member_id="eve", role="member"), runtime.catalog, a_cause()
        )
    moved = told(run("acme")) + told(run("new"))
    assert "eve: the invitation was confirmed; TIME" in moved
    assert "the account: the account was created; TIME" in moved
    assert "a grace period;" not in moved


def test_people_read_names_of_keys_and_programs_their_ids(run: Run, runtime: Runtime):
    with runtime.transaction() as session:
        key_id = api_key.create(session, "back\x1bend", [Scope.CLAIM]).split("_")[1]
        cause = replace(a_cause(), actor=f"key:{key_id}")
        claims.claim(session, "acme", ClaimRequest(member_id="flo", role="member"), runtime.catalog, cause)
    assert f"by key back\\x1bend ({key_id}) (test" in run("acme").stdout
    assert f'"actor": "key:{key_id}"' in run("acme", "--json").stdout


def test_what_moved_before_is_left_out(run: Run):
    assert (
        "Changed since 2030-01-01 00:00:00 UTC: 0\n" in run("acme", "--since", "2030-01-01T00:00:00Z").stdout
    )


def test_a_long_list_says_that_there_is_more(run: Run, runtime: Runtime):
    run_sql(
        runtime,
        "INSERT INTO assignments (account_id, member_id, role, seat_type, state) "
        "SELECT 'acme', 'member-' || n, 'member', 'full', 'active' FROM generate_series(1, 120) AS n",
    )
    assert "Counted: 122, 100 of them shown" in run("acme").stdout


def test_an_unknown_account_ends_with_two(run: Run):
    done = run("nobody")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Account 'nobody' does not exist" in done.stderr
