from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.demo import runner, seat_bars, wording
from cli.demo.api_client import Reply, UnexpectedStatus
from cli.demo.api_documents import Account, Event, Seats
from cli.demo.app_backend import Backend
from cli.demo.environment import environment
from cli.demo.event_log import Entry, EventLog
from cli.demo.examples import Examples
from cli.demo.live_view import Header, LiveView
from cli.demo.people import new_person
from cli.demo.plain_view import action_line, webhook_line
from cli.demo.process_log import ProcessLog
from cli.demo.sandbox import sandbox
from cli.demo.seat_bars import Part
from cli.demo.view import Action, Tone, View
from cli.main import cli
from runtime import supervisor
from runtime.supervisor import Command, KeepsEnding

pytestmark = pytest.mark.long(seconds=25)

SEATSYNC = Path(sys.executable).with_name("seatsync")
SECONDS_TO_SEATS = 60.0
SECONDS_TO_END = 30.0
NOON = datetime(2026, 11, 22, 12, 0, 3, tzinfo=UTC)
WEBHOOK = re.compile(r"\d\d:\d\d:\d\d webhook subscription\.\w+ +[\w-]+ +full \d+ -> \d+")
DEED = re.compile(r"\d\d:\d\d:\d\d app     .+ \(full \d+ of \d+")


# The whole of it, once


@dataclass
class Performance:
    """One demo without a terminal: what was seen of it from outside."""

    home: Path
    lines: list[str] = field(default_factory=list)
    seconds_to_seats: float = 0.0
    seconds_to_end: float = 0.0
    code: int | None = None
    answers: list[str] = field(default_factory=list)
    left: list[psutil.Process] = field(default_factory=list)


@pytest.fixture(scope="module")
def performance(tmp_path_factory: pytest.TempPathFactory) -> Performance:
    """From an empty HOME and nothing in the environment to Ctrl-C."""
    folder = tmp_path_factory.mktemp("a folder")
    seen = Performance(folder / "a home")
    (folder / "empty").mkdir()
    process = subprocess.Popen(
        [SEATSYNC, "demo"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder / "empty"), "SEATSYNC_HOME": "a home"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    reader = threading.Thread(target=read, args=(process, seen.lines))
    reader.start()
    try:
        watch(process, seen)
    finally:
        process.kill()
        seen.left = processes_of(seen.home)
        for each in seen.left:
            each.kill()
        reader.join(SECONDS_TO_END)
    return seen


def read(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout is not None
    with process.stdout as output:
        lines.extend(line.rstrip("\n") for line in output)


def watch(process: subprocess.Popen[str], seen: Performance) -> None:
    started = time.monotonic()
    while not seats_move(seen.lines) and time.monotonic() - started < SECONDS_TO_SEATS:
        time.sleep(0.1)
    seen.seconds_to_seats = time.monotonic() - started
    if shutil.which("curl"):
        seen.answers = call(seen.lines)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    seen.code = process.wait(SECONDS_TO_END)
    seen.seconds_to_end = time.monotonic() - started


def seats_move(lines: Sequence[str]) -> bool:
    return all(any(kind.match(line) for line in lines) for kind in (WEBHOOK, DEED))


def call(lines: Sequence[str]) -> list[str]:
    """The answers to the calls that the demo shows, as a shell makes them."""
    calls = [line for line in lines if line.startswith("  curl ")]
    return [subprocess.check_output(["sh", "-c", f"{each} --silent"], text=True) for each in calls]


def processes_of(home: Path) -> list[psutil.Process]:
    """Whoever was started with this home, or works on the data in it."""
    return [each for each in psutil.process_iter() if str(home) in told_of(each)]


def told_of(process: psutil.Process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return " ".join([*process.cmdline(), *process.environ().values()])
    except psutil.Error:
        return ""


def test_seats_are_seen_moving_within_a_minute(performance: Performance) -> None:
    assert seats_move(performance.lines), performance.lines
    assert performance.seconds_to_seats < SECONDS_TO_SEATS


def test_the_demo_says_where_it_is_ready(performance: Performance) -> None:
    assert any(
        re.fullmatch(r"seatsync is ready on http://127\.0\.0\.1:\d+", each) for each in performance.lines
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_calls_that_the_demo_shows_can_be_copied(performance: Performance) -> None:
    seats, can_add, claim, release = performance.answers
    assert '"purchased":' in seats
    assert '"allowed":' in can_add
    assert '"code":"no_seat_available"' in claim or '"state":"active"' in claim
    assert '"released":' in release


def test_ctrl_c_ends_the_demo_with_code_0_and_in_time(performance: Performance) -> None:
    assert performance.code == 0, performance.lines
    assert performance.seconds_to_end < SECONDS_TO_END


def test_no_process_is_left_behind(performance: Performance) -> None:
    assert performance.left == []


def test_the_last_lines_say_how_to_call_the_api_next_time(performance: Performance) -> None:
    end = performance.lines[performance.lines.index("The demo has ended.") :]
    assert "Next time, while it runs on http://127.0.0.1:" in end[1]
    assert sum(line.startswith("  curl ") for line in end) == 4


def test_what_the_processes_write_goes_into_a_file(performance: Performance) -> None:
    assert "simulator | simulator is ready" in (performance.home / "demo" / "demo.log").read_text()
    assert not any("INFO" in line or "Traceback" in line for line in performance.lines)


# Where it takes place


def test_what_is_set_is_kept_and_the_rest_is_made_up_anew() -> None:
    first, second = environment({"DODO_PAYMENTS_API_KEY": "mine"}), environment({})
    assert first["DODO_PAYMENTS_API_KEY"] == "mine"
    assert first["DODO_PAYMENTS_WEBHOOK_KEY"] != second["DODO_PAYMENTS_WEBHOOK_KEY"]
    assert Path(first["SEATSYNC_CATALOG"]).name == "catalog.example.toml"
    assert Path(first["SEATSYNC_CATALOG"]).is_file()


def test_no_proxy_lies_between_the_service_and_the_simulator() -> None:
    made = environment({"http_proxy": "http://proxy.example:3128", "no_proxy": "intranet.example"})
    assert made["no_proxy"] == made["NO_PROXY"] == "intranet.example,127.0.0.1"


def test_servers_and_providers_of_others_are_left_alone(tmp_path: Path) -> None:
    theirs = {"DATABASE_URL": "postgresql://somewhere/theirs", "DODO_PAYMENTS_ENVIRONMENT": "live_mode"}
    with sandbox({"SEATSYNC_HOME": str(tmp_path), **theirs}) as here:
        assert here.environment.keys().isdisjoint(theirs)
        assert here.environment["DODO_PAYMENTS_BASE_URL"].startswith("http://127.0.0.1:")
        assert here.ignored == tuple(theirs)


def test_everything_lies_in_a_folder_of_the_demos_own(tmp_path: Path) -> None:
    with sandbox({"SEATSYNC_HOME": str(tmp_path)}) as here:
        assert here.folder == tmp_path / "demo"
        assert here.environment["SEATSYNC_HOME"] == str(here.folder)


def test_the_api_key_stays_so_that_copied_calls_work_again(tmp_path: Path) -> None:
    given = {"SEATSYNC_HOME": str(tmp_path)}
    with sandbox(given) as first:
        pass
    with sandbox(given) as second:
        assert first.examples.key == second.examples.key
    assert (tmp_path / "demo" / "api-key").stat().st_mode & 0o077 == 0


def test_a_key_of_the_environment_is_used_and_never_shown(tmp_path: Path) -> None:
    with sandbox({"SEATSYNC_HOME": str(tmp_path), "SEATSYNC_API_KEY": "a-secret-of-somebody"}) as here:
        assert here.environment["SEATSYNC_API_KEY"] == "a-secret-of-somebody"
        assert "a-secret-of-somebody" not in here.examples.text()


def test_no_secret_is_on_the_simulators_command_line(tmp_path: Path) -> None:
    secrets = {"DODO_PAYMENTS_API_KEY": "pk_mine", "DODO_PAYMENTS_WEBHOOK_KEY": "whsec_bmV3, whsec_b2xk"}
    with sandbox({"SEATSYNC_HOME": str(tmp_path), **secrets}) as here:
        simulator = here.simulator
    assert not any(word in " ".join(simulator.argv) for word in ("pk_", "whsec_"))
    assert simulator.env is not None
    assert simulator.env["SIMULATOR_WEBHOOK_SECRET"] == "whsec_bmV3"


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with sandbox({"SEATSYNC_HOME": str(tmp_path)}):
        told = CliRunner().invoke(cli, ["demo"], env={"SEATSYNC_HOME": str(tmp_path)})
    assert told.exit_code == 2
    assert "Another demo is running" in told.output


def test_a_home_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = CliRunner().invoke(cli, ["demo"], env={"SEATSYNC_HOME": str(tmp_path / "file")})
    assert told.exit_code == 2
    assert "Set SEATSYNC_HOME to a folder that is writable" in told.output


# When a process keeps ending


def test_a_process_that_keeps_ending_ends_the_demo_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(runner, "_display", lambda _here: None)
    broken = Command("worker", [sys.executable, "-c", "raise SystemExit('no such broker')"])
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    try:
        with sandbox({"SEATSYNC_HOME": str(tmp_path)}) as here, pytest.raises(KeepsEnding) as told:
            runner._run_processes(here, [broken], StringIO())
    finally:
        for each, handler in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(each, handler)
    assert told.value.message.startswith("worker ended 6 times within a minute")
    assert "\n  no such broker\n" in told.value.message
    assert told.value.message.endswith(str(here.log))


def test_a_restart_is_told_in_the_view() -> None:
    told: list[str] = []
    logbook = ProcessLog(StringIO(), told.append)
    logbook("web", "ended is only a word here")
    logbook("web", "ended by signal 9 (Killed), starts again in 0.5 s")
    assert told == ["web ended by signal 9 (Killed), starts again in 0.5 s"]


# Words


def account(purchased: int = 12, active: int = 0, held: int = 0, **more: Any) -> Account:
    values: dict[str, Any] = {
        "account_id": "acme",
        "seats": {"full": Seats(purchased, active, held)},
        "subscriptions": {"sub_1": "active"},
    }
    return Account(**values | more)


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [
        (None, account(12), "full 0 -> 12"),
        (account(10), account(15), "full 10 -> 15"),
        (account(12, active=3), account(12, active=9), ""),
        (account(12, active=10), account(8, active=10), "full 12 -> 8, 2 over the limit"),
        (account(), account(seats={"full": Seats(None)}), "full 12 -> unlimited"),
        (
            account(),
            account(status="suspended", subscriptions={"sub_1": "paused"}),
            "paused, seats suspended",
        ),
        (
            account(status="suspended", subscriptions={"sub_1": "paused"}),
            account(),
            "active, seats count again",
        ),
        (account(), account(subscriptions={"sub_1": "past_due"}), "past_due, seats kept"),
        (account(), account(1, subscriptions={"sub_1": "expired"}), "full 12 -> 1, expired"),
        (account(), account(is_leaving=True), "ends with its period"),
        (account(is_leaving=True), account(), "does not end with its period any more"),
    ],
)
def test_what_a_webhook_changed_is_told_in_words(before: Account | None, after: Account, effect: str) -> None:
    assert wording.effect(before, after) == effect


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (
            {"code": "no_seat_available", "detail": "...", "seat_type": "full", "used": 5, "purchased": 5},
            "no seat available (full 5 of 5)",
        ),
        (
            {"code": "claims_blocked", "detail": "The account is suspended: its seats and members are kept."},
            "the account is suspended",
        ),
    ],
)
def test_a_refusal_is_told_in_words(problem: Mapping[str, Any], reason: str) -> None:
    assert wording.refusal(problem) == reason


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        ({"allowed": True, "code": "granted", "available": 4}, "yes, 4 available"),
        ({"allowed": False, "code": "no_seat_available", "available": 1}, "no, 1 available"),
        ({"allowed": True, "code": "granted_over_limit", "available": 0}, "yes, over the limit"),
    ],
)
def test_whether_more_may_come_is_told_in_words(told: Mapping[str, Any], answer: str) -> None:
    assert wording.permission(told) == answer


def test_seats_are_told_as_used_of_purchased() -> None:
    assert wording.seats_of(account(15, active=10, held=1), "full") == "full 11 of 15"
    assert wording.seats_of(account(8, active=9), "full") == "full 9 of 8, 1 over"
    assert wording.seats_of(account(seats={"full": Seats(None, 4)}), "full") == "full 4 of unlimited"
    assert wording.seats_of(account(), None) == ""


def test_examples_name_the_address_and_the_key() -> None:
    text = Examples("http://127.0.0.1:8123", "demo-abcdefghijkl").text()
    calls = [shlex.split(line) for line in text.splitlines() if line.startswith("  curl")]
    assert all("Authorization: Bearer demo-abcdefghijkl" in each for each in calls)
    assert [each[-1].rpartition("acme/")[2] for each in calls] == [
        "seats",
        "can-add?role=team_member",
        "claims",
        "members/you",
    ]


# Lines


def event(inbox_id: int = 1, kind: str = "plan_changed", state: str = "done", **more: Any) -> Event:
    values: dict[str, Any] = {
        "inbox_id": inbox_id,
        "type": f"subscription.{kind}",
        "subscription_id": "sub_1",
        "state": state,
        "reason": None,
        "received_at": NOON,
    }
    return Event(**values | more)


def test_a_webhook_is_one_line() -> None:
    clock = f"{NOON.astimezone():%H:%M:%S}"
    entry = Entry(event(), "acme", "full 10 -> 15", ("updated",))
    assert webhook_line(entry) == (
        f"{clock} webhook subscription.plan_changed  acme          full 10 -> 15 (and updated)"
    )


def test_what_the_app_does_is_one_line() -> None:
    clock = f"{NOON.astimezone():%H:%M:%S}"
    joins = Action(NOON, Tone.GRANTED, "Ada Moreau joins acme (full 11 of 15)")
    assert action_line(joins) == f"{clock} app     Ada Moreau joins acme (full 11 of 15)"
    assert action_line(replace(joins, tone=Tone.TROUBLE, text="web ended")) == f"{clock} demo    web ended"


# Webhooks and what they changed


def test_a_webhook_is_told_once_and_only_when_it_is_worked_off() -> None:
    event_log = EventLog()
    assert event_log.update([event(state="pending")], []) == []
    assert [each.effect for each in event_log.update([event()], [account(12)])] == ["full 0 -> 12"]
    assert event_log.update([event()], [account(15)]) == []


def test_of_several_webhooks_about_one_change_the_plainest_tells_it() -> None:
    told = EventLog().update([event(3, "active"), event(2, "updated"), event(1, "renewed")], [account(12)])
    assert [(each.event.type, each.effect) for each in told] == [
        ("subscription.renewed", wording.SAME_CHANGE),
        ("subscription.updated", wording.SAME_CHANGE),
        ("subscription.active", "full 0 -> 12"),
    ]
    assert told[2].repetitions == ("renewed", "updated")


def test_a_webhook_that_changed_nothing_says_so() -> None:
    event_log = EventLog()
    event_log.update([event(1)], [account(12)])
    assert event_log.update([event(2)], [account(12)])[0].effect == wording.NO_CHANGE


def test_a_dead_letter_is_told_with_its_reason() -> None:
    dead = event(state="dead", reason="the body is not JSON", subscription_id=None)
    assert EventLog().update([dead], [])[0].effect == "dead: the body is not JSON"


def test_old_webhooks_are_forgotten() -> None:
    event_log = EventLog()
    event_log.update([event(each) for each in range(250)], [account()])
    assert [each.event.inbox_id for each in event_log.entries] == list(range(249, 149, -1))


# Bars


@pytest.mark.parametrize(
    ("seats", "drawn"),
    [
        (Seats(5, 3, 1), "###+."),
        (Seats(5, 0, 0), "....."),
        (Seats(3, 5, 0), "###!!"),
        (Seats(3, 2, 2), "##+!"),
        (Seats(None, 2, 1), "##+"),
        (Seats(0, 0, 0), ""),
    ],
)
def test_a_bar_has_a_cell_for_each_seat(seats: Seats, drawn: str) -> None:
    assert "".join(seat_bars.ASCII.of(part) * cells for part, cells in seat_bars.parts(seats, 1)) == drawn


def test_whatever_there_is_of_can_be_seen_on_any_scale() -> None:
    drawn = dict(seat_bars.parts(Seats(400, 399, 3), 1 / 10))
    assert drawn == {Part.ACTIVE: 40, Part.HELD: 1, Part.OVER: 1}


@pytest.mark.parametrize(("purchased", "scale"), [(10, 2), (11, 1), (20, 1), (21, 1 / 2), (90, 1 / 5)])
def test_all_bars_share_a_round_scale(purchased: int, scale: float) -> None:
    assert seat_bars.cells_per_seat([Seats(5), Seats(purchased)], width=20) == scale


def test_the_bar_shows_the_seat_type_with_the_most_seats() -> None:
    assert seat_bars.main_type(account(seats={"viewer": Seats(3), "full": Seats(12)})) == "full"
    assert seat_bars.main_type(account(seats={})) is None


# The view

VIEW = View(
    accounts=[
        account(15, active=9, held=1),
        account(8, active=10, account_id="tidewater", status="over_limit"),
    ],
    entries=[Entry(event(2, state="pending"), "acme"), Entry(event(), "acme", "full 10 -> 15")],
    actions=[Action(NOON, Tone.REFUSED, "Ada Moreau waits for acme: no seat available (full 15 of 15)")],
    lag=0.25,
    seconds=75,
)
HEADER = Header("http://127.0.0.1:8000", "curl " + "x" * 85, "curl short", "More calls: here")


def drawn(view: View, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(LiveView(HEADER, width, height).of(view))
    return captured.get().splitlines()


def places_of_titles(lines: Sequence[str]) -> list[int]:
    return [place for place, line in enumerate(lines) if line.startswith("──")]


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (60, 16)])
@pytest.mark.parametrize("view", [View(), VIEW])
def test_the_view_fits_its_terminal_and_never_moves(view: View, width: int, height: int) -> None:
    lines = drawn(view, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert places_of_titles(lines) == places_of_titles(drawn(View(), width, height))


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (300, 100)])
def test_no_terminal_is_too_small_or_too_large(size: tuple[int, int]) -> None:
    assert drawn(VIEW, *size)


def test_the_view_shows_accounts_webhooks_and_the_app() -> None:
    text = "\n".join(drawn(VIEW, 120, 40))
    assert re.search(r"acme +ok +strict +█{18}▓▓░{10} +full 10/15", text)
    assert re.search(r"tidewater +over limit +strict +█{16}▒{4} +full 10/8", text)
    assert re.search(r"subscription.plan_changed +sub_1 +acme +done +full 10 -> 15", text)
    assert re.search(r"subscription.plan_changed +sub_1 +acme +pending", text)
    assert "x Ada Moreau waits for acme: no seat available (full 15 of 15)" in text
    assert "worker lag 0.2 s  1:15" in text


def test_a_web_process_that_is_away_is_said_to_be() -> None:
    assert "does not respond" in drawn(replace(VIEW, lag=None), 120, 40)[0]


def test_accounts_that_find_no_room_are_counted() -> None:
    many = [account(account_id=f"account-{each}") for each in range(20)]
    assert any("and 11 more" in line for line in drawn(replace(VIEW, accounts=many), 80, 24))


def test_the_call_to_copy_is_never_cut() -> None:
    assert f" {HEADER.curl}" in [line.rstrip() for line in drawn(VIEW, 120, 40)]
    assert f" {HEADER.short_curl}" in [line.rstrip() for line in drawn(VIEW, 80, 24)]


# The app


class Service:
    """A service with one strict account, as the app sees it."""

    def __init__(self, purchased: int, **more: Any) -> None:
        self.purchased = purchased
        self.members: list[str] = []
        self.more = more

    def account_ids(self) -> list[str]:
        return ["acme"]

    def account(self, _account_id: str) -> Account:
        return account(self.purchased, active=len(self.members), **self.more)

    def can_add(self, _account_id: str, _role: str, count: int = 1) -> dict[str, Any]:
        left = self.purchased - len(self.members)
        return {"allowed": count <= left, "code": "", "available": max(left, 0), "seat_type": "full"}

    def claim(self, _account_id: str, member_id: str, _role: str, **_: Any) -> Reply:
        if len(self.members) >= self.purchased:
            used = len(self.members)
            problem = {"seat_type": "full", "used": used, "purchased": self.purchased}
            return Reply(is_granted=False, body={"code": "no_seat_available", "detail": "", **problem})
        self.members.append(member_id)
        return Reply(is_granted=True, body={})

    def close(self) -> None:
        pass


def backend_of(service: Service) -> tuple[Backend, list[str]]:
    told: list[str] = []
    return Backend(service, lambda action: told.append(action.text), random.Random(1)), told


def test_the_people_of_a_new_customer_move_in() -> None:
    backend, told = backend_of(service := Service(10))
    backend.step()
    count = len(service.members)
    assert 7 <= count <= 10
    assert told == [f"{count} people join acme (full {count} of 10)"]


def test_who_was_refused_waits_until_seats_are_bought() -> None:
    backend, told = backend_of(service := Service(3))
    backend.step()
    for _ in range(2):
        backend._join(backend._team("acme"))
    assert told[-1].endswith(" waits for acme: no seat available (full 3 of 3)")
    service.purchased = 5
    backend.step()
    assert re.fullmatch(r".+ joins acme after waiting 0 s \(full 4 of 5\)", told[-1])


def test_an_account_made_by_hand_is_left_alone() -> None:
    backend, told = backend_of(service := Service(10, subscriptions={}))
    for _ in range(20):
        backend.step()
    assert service.members == told == []


def test_an_answer_that_should_not_be_is_told() -> None:
    service = Service(10)
    backend, told = backend_of(service)

    def fails() -> list[str]:
        raise UnexpectedStatus("GET /v1/accounts: 500")

    service.account_ids = fails  # type: ignore[method-assign]
    backend.run(lambda: bool(told))
    assert told == ["GET /v1/accounts: 500"]


def test_nobody_bears_the_name_of_somebody_else() -> None:
    known: set[str] = set()
    people = [new_person(random.Random(1), "acme", known) for _ in range(100)]
    assert len({each.member_id for each in people}) == 100
