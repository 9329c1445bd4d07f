"""`seatsync doctor`: finds what is wrong, says what to do, and is quiet where all is well."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

import migrations
from cli.doctor import database, links, provider, work
from cli.doctor import result as results
from cli.doctor.result import Level
from cli.doctor.runner import run_checks
from cli.main import cli
from domain.catalog.model import MetadataNames, Rules
from models import account, inbox, scheduled_job
from models.database import Sessions, connect
from models.drift_finding import DriftFinding
from models.inbox import InboxState
from models.subscription import Subscription
from runtime.settings import Settings
from runtime.wiring import Runtime
from simulator.server import Simulator
from tests.conftest import API_KEY, PROVIDER_KEY, SECRET
from tests.factories import an_arrival
from tests.providers.stub import closed_port
from tests.servers import Databases
from tests.simulator.driver import Control

OLD_SECRET = "whsec_" + "b2xk" * 8
CATALOG = """
[roles]
member = "full"

[products.pdt_team]
name = "Team"
included = { full = 5 }
addons.adn_seat = { full = 1 }
addons.adn_pack_10 = { full = 10 }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}

[products.pdt_per_user]
name = "Per user"
per_unit = { full = 1 }
"""
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

Run = Callable[..., Result]
Found = Callable[..., dict[str, dict[str, str]]]


@pytest.fixture
def control(simulator: Simulator) -> Iterator[Control]:
    simulator.world.reset()
    with requests.Session() as session:
        control = Control(session, simulator.control_url)
        control.call("DELETE", "/requests")
        yield control


@pytest.fixture
def well(sessions: Sessions) -> None:
    """Beat and sweeper are at work, and both products are in use and were just looked at."""
    now = datetime.now(UTC)
    with sessions.begin() as session:
        for name in (scheduled_job.BEAT, scheduled_job.SWEEPER):
            scheduled_job.start_if_due(session, name, scheduled_job.EVERY_HEARTBEAT)
        for product_id in ("pdt_team", "pdt_per_user"):
            session.add(
                Subscription(
                    id=f"sub_{product_id}",
                    snapshot={"product_id": product_id},
                    verified_at=now,
                    looked_at=now,
                )
            )


@pytest.fixture
def environment(environment: dict[str, str], simulator: Simulator) -> dict[str, str]:
    return {**environment, "DODO_PAYMENTS_BASE_URL": simulator.url}


@pytest.fixture
def run(environment: dict[str, str], catalog_file: Path, control: Control, well: None) -> Run:
    catalog_file.write_text(CATALOG, encoding="utf-8")

    def run(*arguments: str, **changed: str) -> Result:
        told = CliRunner(env={**environment, **changed})
        return told.invoke(cli, ["doctor", *arguments], catch_exceptions=False)

    return run


@pytest.fixture
def found(run: Run) -> Found:
    """What was found, by what was checked; the exit code fits the level."""

    def found(*, exit_code: int = 0, **changed: str) -> dict[str, dict[str, str]]:
        done = run("--json", **changed)
        document = json.loads(done.stdout)
        assert done.exit_code == exit_code, document
        return {one["check"]: one for one in document["results"]}

    return found


def levels(checked: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {check: one["level"] for check, one in checked.items()}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody was started a moment ago."""
    monkeypatch.setattr("cli.doctor.work._STARTUP_SECONDS", 0.0)


# As a whole.


def test_where_all_is_well_nothing_is_worse_than_a_note(found: Found):
    assert levels(found()) == {
        "mode": "note",  # the simulator's address
        "webhook secrets": "ok",
        "API key, reading": "ok",
        "API key, writing": "ok",
        "provider's clock": "ok",
        "catalogue": "ok",
        "database": "ok",
        "database schema": "ok",
        "database's clock": "ok",
        "broker": "ok",
        "cache": "ok",
        "beat and worker": "ok",
        "sweeper": "ok",
        "oldest sync of a subscription": "ok",
        "dead letters": "ok",
        "dead subscriptions": "ok",
    }


def test_people_read_a_line_per_check_with_the_advice_beneath(run: Run, catalog_file: Path):
    catalog_file.write_text(CATALOG.replace("adn_support", "adn_suport"), encoding="utf-8")
    done = run()
    lines = done.stdout.splitlines()
    place = "[products.pdt_team] addons.adn_suport"
    at = lines.index(f"warning  catalogue {place}: The provider does not know this add-on.")
    assert lines[at + 1].startswith("           -> Correct the id")
    assert lines[-1] == "ok 14, note 1, warning 2, failure 0"
    assert done.exit_code == 1


def test_programs_read_one_document(run: Run):
    document = json.loads(run("--json").stdout)
    assert document["level"] == "note"
    assert document["results"][1] == {
        "level": "ok",
        "check": "webhook secrets",
        "found": "one, well-formed",
        "advice": None,
    }


def test_a_failure_is_exit_code_2(run: Run):
    assert run(DODO_PAYMENTS_API_KEY="another-key").exit_code == 2


def test_settings_that_are_wrong_are_the_answer(run: Run):
    done = run(DODO_PAYMENTS_WEBHOOK_KEY="no secret")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "DODO_PAYMENTS_WEBHOOK_KEY" in done.stderr


def test_nothing_secret_is_shown(run: Run, environment: dict[str, str]):
    servers = ("DATABASE_URL", "REDIS_URL")
    passwords = {urlsplit(environment[name]).password or PROVIDER_KEY for name in servers}
    away = f"redis://:hidden-word@127.0.0.1:{closed_port()}/0"
    for changed in (
        {},
        {"DODO_PAYMENTS_API_KEY": "hidden-word", "DODO_PAYMENTS_WEBHOOK_KEY": f"{SECRET},{OLD_SECRET}"},
        {"REDIS_URL": away},
        {"DATABASE_URL": f"postgresql://someone:hidden-word@127.0.0.1:{closed_port()}/none"},
    ):
        done = run(**changed)
        for secret in (PROVIDER_KEY, API_KEY, SECRET, OLD_SECRET, "hidden-word", *passwords):
            assert secret not in done.output


def test_nothing_is_changed_at_the_provider(run: Run, control: Control):
    before = control.create()
    run()
    assert control.call("GET", f"/subscriptions/{before['subscription_id']}") == before
    assert set(control.call("GET", "/requests")["routes"]) == {
        "GET /subscriptions",
        "DELETE /subscriptions/<subscription_id>/change-plan/scheduled",
        "GET /products",
        "GET /products/<product_id>",
        "GET /addons",
    }


# One that breaks or hangs.


def breaks(runtime: Runtime) -> Iterator[results.Result]:
    yield results.ok("before", "well")
    raise ValueError("the password is hidden-word")


def hangs(runtime: Runtime) -> Iterator[results.Result]:
    yield results.ok("begun", "well")
    threading.Event().wait()


def works(runtime: Runtime) -> Iterator[results.Result]:
    yield results.ok("works", "well")


def test_a_check_that_breaks_does_not_stop_the_others(runtime: Runtime):
    told = run_checks({"broken": breaks, "working": works}, runtime, seconds=5)
    assert [one.check for one in told] == ["before", "broken", "works"]
    assert (told[1].level, told[1].found) == (Level.FAILURE, "The check failed: ValueError")


def test_a_check_that_hangs_is_left_behind_with_what_it_found(runtime: Runtime):
    start = time.monotonic()
    told = run_checks({"hanging": hangs, "working": works}, runtime, seconds=0.5)
    assert time.monotonic() - start < 5
    assert [(one.level, one.check) for one in told] == [
        ("ok", "begun"),
        ("failure", "hanging"),
        ("ok", "works"),
    ]


# Mode, secrets and key.


def a_mode(environment: str, url: str | None) -> results.Result:
    return provider.mode(Settings.model_construct(environment=environment, base_url=url))


@pytest.mark.parametrize(
    ("environment", "url", "level"),
    [
        ("test_mode", None, "ok"),
        ("live_mode", None, "ok"),
        ("live_mode", "https://live.dodopayments.com/", "ok"),
        ("test_mode", "https://proxy.example.com", "note"),
        ("live_mode", "https://proxy.example.com", "warning"),
        ("live_mode", "https://test.dodopayments.com", "failure"),
        ("test_mode", "https://live.dodopayments.com", "failure"),
    ],
)
def test_a_base_url_that_contradicts_the_mode_is_found(environment: str, url: str | None, level: str):
    assert a_mode(environment, url).level == level


def test_more_than_one_secret_is_noted_with_when_to_drop_them(found: Found):
    told = found(DODO_PAYMENTS_WEBHOOK_KEY=f"{SECRET},{OLD_SECRET}")["webhook secrets"]
    assert (told["level"], told["found"]) == ("note", "2, well-formed, the newest first")
    assert "day after a rotation" in told["advice"]


def test_a_key_of_the_other_mode_is_found(found: Found):
    told = found(exit_code=2, DODO_PAYMENTS_API_KEY="the-key-of-live-mode")
    assert told["API key, reading"]["level"] == "failure"
    assert "the configured mode is test_mode" in told["API key, reading"]["advice"]
    assert "API key, writing" not in told


def test_a_key_that_may_not_write_is_a_fact_and_no_fault(found: Found, control: Control):
    control.turn(key_is_read_only=True)
    told = found()
    assert (told["API key, reading"]["level"], told["API key, writing"]["level"]) == ("ok", "note")


def test_a_provider_that_is_away_is_found(found: Found):
    told = found(exit_code=2, DODO_PAYMENTS_BASE_URL=f"http://127.0.0.1:{closed_port()}")
    assert told["provider"]["level"] == "failure"
    assert told["catalogue"]["found"].startswith("Not compared with the provider")
    assert told["database"]["level"] == "ok"


def test_a_provider_that_fails_is_found(found: Found, control: Control):
    control.turn(api_500_probability=1)
    assert "500" in found(exit_code=2)["provider"]["found"]


def test_an_allowance_others_have_used_up_is_found(found: Found):
    told = found(exit_code=1, SEATSYNC_PROVIDER_RATE="1/minute")
    assert told["provider"]["advice"] == "Other processes use the request budget. Run this again in a minute."


TOLERANCE = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("skew", "tolerance", "level"),
    [
        (timedelta(), TOLERANCE, "ok"),
        (MINUTE, TOLERANCE, "ok"),
        (timedelta(seconds=61), TOLERANCE, "warning"),
        (timedelta(seconds=-61), TOLERANCE, "warning"),
        (timedelta(seconds=151), TOLERANCE, "failure"),
        (timedelta(seconds=-151), TOLERANCE, "failure"),
        (timedelta(seconds=6), timedelta(seconds=10), "failure"),
        (None, TOLERANCE, "note"),
    ],
)
def test_a_clock_that_endangers_deliveries_is_found(skew: timedelta | None, tolerance: timedelta, level: str):
    assert provider.clock(skew, tolerance).level == level


def test_a_skew_says_whose_clock_is_ahead():
    assert provider.clock(2 * MINUTE, TOLERANCE).found == "120 s ahead of this machine's clock"
    assert provider.clock(-2 * MINUTE, TOLERANCE).found == "120 s behind this machine's clock"


# The catalogue.


def test_what_the_provider_sells_and_the_catalogue_does_not_know_is_found(found: Found, control: Control):
    control.call("POST", "/products", product_id="pdt_new", name="Team XL", price=1)
    control.call("POST", "/products", product_id="pdt_once", name="Once", price=1, is_recurring=False)
    told = found(exit_code=1)
    assert [check for check in told if check.startswith("catalogue")] == ["catalogue [products.pdt_new]"]
    assert "Add the section" in told["catalogue [products.pdt_new]"]["advice"]


def test_an_addon_of_another_currency_is_found(found: Found, control: Control):
    control.call("POST", "/addons", id="adn_seat", name="Seat", price=1, currency="USD")
    told = found(exit_code=1)["catalogue [products.pdt_team] addons.adn_seat"]
    assert "in USD and the product in EUR" in told["found"]


def test_an_addon_that_is_not_attached_is_found(found: Found, control: Control):
    attached = ["adn_pack_10", "adn_viewer", "adn_support"]
    control.call("POST", "/products", product_id="pdt_team", name="Team", price=1, addons=attached)
    told = found(exit_code=1)["catalogue [products.pdt_team] addons.adn_seat"]
    assert "Attach it to the product" in told["advice"]


def test_what_is_archived_is_noted(found: Found, control: Control):
    control.call("POST", "/products", product_id="pdt_per_user", name="Old", price=1, archived=True)
    control.call("POST", "/addons", id="adn_viewer", name="Old", price=1, archived=True)
    told = levels(found())
    assert told["catalogue [products.pdt_per_user]"] == "note"
    assert told["catalogue [products.pdt_team] addons.adn_viewer"] == "note"


def test_a_product_the_provider_does_not_know_is_found(run: Run, catalog_file: Path):
    catalog_file.write_text(CATALOG.replace("pdt_per_user", "pdt_per_usr"), encoding="utf-8")
    told = run()
    assert "catalogue [products.pdt_per_usr]: The provider does not know this product." in told.stdout
    assert told.exit_code == 1


def test_a_product_nobody_uses_is_noted(found: Found, sessions: Sessions):
    with sessions.begin() as session:
        session.execute(text("DELETE FROM subscriptions WHERE id = 'sub_pdt_per_user'"))
    told = found()["catalogue [products.pdt_per_user]"]
    assert (told["level"], told["found"]) == ("note", "No known subscription has this product.")


def test_without_subscriptions_nothing_is_said_to_be_unused(run: Run, sessions: Sessions):
    with sessions.begin() as session:
        session.execute(text("DELETE FROM subscriptions"))
    done = run()
    assert "in use are unknown: no subscription was synced yet" in done.stdout
    assert done.exit_code == 0


# The database.


def test_a_database_that_is_away_is_found_and_does_not_stop_the_others(found: Found):
    told = found(exit_code=2, DATABASE_URL=f"postgresql://nobody@127.0.0.1:{closed_port()}/none")
    assert (told["database"]["level"], told["work"]["level"]) == ("failure", "warning")
    assert (told["API key, reading"]["level"], told["broker"]["level"]) == ("ok", "ok")
    assert "database schema" not in told


@pytest.fixture
def other_database(postgres: Databases) -> Iterator[str]:
    yield postgres.create_database("doctor")
    postgres.drop_database("doctor")


def test_a_database_without_a_schema_is_found(found: Found, other_database: str):
    told = found(exit_code=2, DATABASE_URL=other_database)
    assert told["database schema"]["advice"] == "Run `seatsync migrate`."
    assert told["work"]["level"] == "warning"


def test_a_database_that_is_not_migrated_to_the_newest_is_found(found: Found, other_database: str):
    engine = create_engine(other_database)
    migrations.upgrade(engine, "0001")
    engine.dispose()
    told = found(exit_code=2, DATABASE_URL=other_database)["database schema"]
    assert told["level"] == "failure"
    assert told["found"].startswith("The database is at revision 0001, this release at ")


@pytest.mark.parametrize("is_away", [False, True])
def test_a_direct_address_beside_a_pooler_s_is_checked(
    runtime: Runtime, environment: dict[str, str], is_away: bool
):
    url = f"postgresql+psycopg://nobody@127.0.0.1:{closed_port()}/none"
    direct = connect(url if is_away else environment["DATABASE_URL"])
    told = {one.check: one.level for one in database.check(replace(runtime, direct_engine=direct))}
    direct.dispose()
    assert told["direct database"] == ("failure" if is_away else "ok")


@pytest.mark.parametrize(
    ("skew", "level"), [(timedelta(), "ok"), (2 * MINUTE, "warning"), (-2 * MINUTE, "warning")]
)
def test_a_database_whose_clock_is_wrong_is_found(skew: timedelta, level: str):
    assert database.clock(skew).level == level


# Broker and cache.


def test_a_broker_that_is_away_is_found(found: Found):
    told = found(exit_code=1, CELERY_BROKER_URL=f"amqp://nobody@127.0.0.1:{closed_port()}//")
    assert (told["broker"]["level"], told["cache"]["level"]) == ("warning", "ok")


def test_a_cache_that_is_away_is_found(found: Found):
    told = found(exit_code=1, REDIS_URL=f"redis://127.0.0.1:{closed_port()}/0")
    assert (told["broker"]["level"], told["cache"]["level"]) == ("warning", "warning")


# The work.


@pytest.mark.parametrize(
    ("name", "check"),
    [(scheduled_job.BEAT, "beat and worker"), (scheduled_job.SWEEPER, "sweeper")],
    ids=["beat", "sweeper"],
)
def test_a_process_that_is_silent_is_found(found: Found, sessions: Sessions, name: str, check: str):
    with sessions.begin() as session:
        session.execute(
            text("UPDATE ticks SET taken_at = now() - interval '4 minutes' WHERE name = :name"),
            {"name": name},
        )
    told = found(exit_code=2)
    assert (told[check]["level"], told[check]["found"]) == (
        "failure",
        "The last heartbeat is 4 minutes old.",
    )


def test_processes_that_never_ran_are_found(found: Found, sessions: Sessions):
    with sessions.begin() as session:
        session.execute(text("DELETE FROM ticks"))
    told = found(exit_code=2)
    assert {told["beat and worker"]["found"], told["sweeper"]["found"]} == {"There was never a heartbeat."}


def test_right_after_the_start_the_first_signs_of_life_are_waited_for(
    found: Found, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
):
    with sessions.begin() as session:
        session.execute(text("DELETE FROM ticks"))

    def show_life(_seconds: float) -> None:
        with sessions.begin() as session:
            for name in (scheduled_job.BEAT, scheduled_job.SWEEPER):
                scheduled_job.start_if_due(session, name, scheduled_job.EVERY_HEARTBEAT)

    monkeypatch.setattr("cli.doctor.work._STARTUP_SECONDS", 60.0)
    monkeypatch.setattr("runtime.waiting.time.sleep", show_life)
    told = found()
    assert (told["beat and worker"]["level"], told["sweeper"]["level"]) == ("ok", "ok")


@pytest.mark.parametrize(("because", "level", "code"), [("a reason", "warning", 1), (None, "note", 0)])
def test_findings_that_stand_are_named(
    found: Found, sessions: Sessions, because: str | None, level: str, code: int
):
    with sessions.begin() as session:
        session.add(
            DriftFinding(
                subject="sub_1",
                kind="differs",
                field="quantity",
                message="a difference",
                state="held" if because else "open",
                held_because=because,
            )
        )
    told = found(exit_code=code)["drift findings"]
    assert (told["level"], told["found"]) == (level, "1 held" if because else "1 open")
    assert "seatsync drift" in told["advice"]


def test_a_subscription_that_waits_too_long_for_its_look_is_found(found: Found, sessions: Sessions):
    with sessions.begin() as session:
        session.add(Subscription(id="sub_waiting", created_at=datetime.now(UTC) - 37 * HOUR))
    told = found(exit_code=1)["oldest sync of a subscription"]
    assert told["found"].endswith("37.0 h ago; the limit is 24.0 h.")


@pytest.mark.parametrize(("age", "level"), [(35 * HOUR, "ok"), (37 * HOUR, "warning")])
def test_a_look_may_be_late_by_half_the_period(age: timedelta, level: str):
    assert work.oldest_sync(age, 24 * HOUR).level == level


def test_dead_letters_are_counted(found: Found, sessions: Sessions):
    with sessions.begin() as session:
        for event_id in ("msg_1", "msg_2"):
            inbox.store(session, an_arrival(event_id, state=InboxState.DEAD, reason="no JSON"))
    told = found(exit_code=1)["dead letters"]
    assert (told["found"], "POST /v1/inbox/ID/replay" in told["advice"]) == ("2", True)


def test_subscriptions_given_up_on_are_counted(found: Found, sessions: Sessions):
    with sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET dead_reason = 'no answer' WHERE id LIKE '%team'"))
    assert found(exit_code=1)["dead subscriptions"]["found"] == "1"


# Links.


def linked(sessions: Sessions, subscription_id: str, account_id: str, customer: str | None, by: str) -> None:
    with sessions.begin() as session:
        account.insert_if_absent(session, account_id, Rules())
        session.add(
            Subscription(
                id=subscription_id,
                account_id=account_id,
                linked_by=by,
                snapshot={"product_id": "pdt_team", "customer_id": customer},
                verified_at=datetime.now(UTC),
            )
        )


def test_links_that_a_buyer_may_have_made_up_are_listed(sessions: Sessions, runtime: Runtime):
    linked(sessions, "sub_1", "acme", "cus_1", "app")
    linked(sessions, "sub_2", "acme", "cus_2", "metadata")
    linked(sessions, "sub_3", "beta", "cus_3", "metadata")
    linked(sessions, "sub_4", "beta", "cus_3", "metadata")
    linked(sessions, "sub_5", "gamma", None, "metadata")
    linked(sessions, "sub_6", "gamma", None, "metadata")
    (told,) = links.check(runtime)
    assert told.level == Level.WARNING
    assert told.found.endswith(": sub_2 in acme, sub_5 in gamma, sub_6 in gamma.")
    assert "confirm the link if it is right" in told.advice


def test_where_every_link_is_the_customers_own_nothing_is_said(sessions: Sessions, runtime: Runtime):
    linked(sessions, "sub_1", "acme", "cus_1", "metadata")
    linked(sessions, "sub_2", "acme", "cus_1", "metadata")
    linked(sessions, "sub_3", "beta", None, "metadata")
    assert list(links.check(runtime)) == []


def test_trusted_metadata_is_noted(runtime: Runtime):
    trusting = replace(runtime.catalog, metadata_names=MetadataNames.TRUSTED)
    (told,) = links.check(replace(runtime, catalog=trusting))
    assert (told.level, "static payment links" in told.advice) == (Level.NOTE, True)
