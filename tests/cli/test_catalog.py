"""`seatsync catalog`: mistakes are told before a start, and changes before they happen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from cli.main import cli
from domain.catalog.reader import parse
from models.account import Account
from models.audit import AuditRow
from models.database import Sessions
from services.ledger import accounts, claims
from services.ledger.claims import ClaimRequest
from tests.factories import CATALOG_TEXT, a_cause

FREE = "[free]\nincluded = { full = 3, viewer = 1 }\n"
Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str], catalog_file: Path) -> Run:
    catalog_file.write_text(CATALOG_TEXT + FREE, encoding="utf-8")

    def run(*arguments: str) -> Result:
        return CliRunner(env=environment).invoke(cli, ["catalog", *arguments], catch_exceptions=False)

    return run


@pytest.fixture
def people(sessions: Sessions) -> None:
    """`acme` with three members, and `calm` with nobody."""
    catalog = parse(CATALOG_TEXT + FREE, "before")
    with sessions.begin() as session:
        for account_id in ("acme", "calm"):
            accounts.open_account(session, account_id, catalog, a_cause())
        for member_id, role in (("ada", "member"), ("bob", "member"), ("eve", "admin")):
            claims.claim(session, "acme", ClaimRequest(member_id=member_id, role=role), catalog, a_cause())


def changed(folder: Path, *replacements: tuple[str, str]) -> str:
    """The same catalogue with other words in it, in a file of its own."""
    written = CATALOG_TEXT + FREE
    for old, new in replacements:
        assert old in written
        written = written.replace(old, new)
    path = folder / "changed.toml"
    path.write_text(written, encoding="utf-8")
    return str(path)


# check


def test_a_right_catalogue_is_summed_up(run: Run):
    done = run("check")
    assert done.exit_code == 0
    assert "seat types: full, viewer" in done.output
    assert "roles: 4, 1 of them free" in done.output


def test_mistakes_are_told_with_their_place(run: Run, tmp_path: Path):
    done = run("check", changed(tmp_path, ('policy = "strict"', 'policy = "kind"')))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "line 3" in done.stderr
    assert "has 1 mistake:" in done.stderr


def test_a_byte_order_mark_does_no_harm(run: Run, tmp_path: Path):
    path = Path(changed(tmp_path))
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert run("check", str(path)).exit_code == 0


@pytest.mark.parametrize("depth", [50, 500, 50_000])
@pytest.mark.parametrize("opening", ["[", "{a="])
def test_deep_nesting_is_a_mistake_and_no_crash(run: Run, tmp_path: Path, opening: str, depth: int):
    path = tmp_path / "deep.toml"
    path.write_text("a = " + opening * depth + ("]" if opening == "[" else "}") * depth, encoding="utf-8")
    done = run("check", str(path))
    assert (done.exit_code, "Traceback" in done.stderr, "deep.toml has" in done.stderr) == (2, False, True)


@pytest.mark.parametrize("command", ["up", "doctor", "drift", "sweeper"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 5000, b"\xef\xbb\xbfpolicy = 1"])
def test_every_command_tells_a_catalogue_it_cannot_read(
    environment: dict[str, str], catalog_file: Path, command: str, content: bytes
):
    catalog_file.write_bytes(content)
    done = CliRunner(env=environment).invoke(cli, [command], catch_exceptions=False)
    assert (done.exit_code, "mistake" in done.stderr) == (2, True)


def test_roles_that_differ_in_case_alone_are_warned_of(run: Run, tmp_path: Path):
    done = run("check", changed(tmp_path, ('client = "free"', 'client = "free"\nClient = "full"')))
    assert done.exit_code == 0
    assert "warning: The roles 'client' (free) and 'Client' (a full seat) differ only in case" in done.output


def test_checking_needs_no_other_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SEATSYNC_CATALOG", raising=False)
    assert CliRunner().invoke(cli, ["catalog", "check", changed(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(cli, ["catalog", "check"]).exit_code == 2


def test_what_is_no_text_is_no_catalogue(run: Run, tmp_path: Path):
    path = tmp_path / "noise.toml"
    path.write_bytes(b"\xff\xfe\x00")
    done = run("check", str(path))
    assert (done.exit_code, "not UTF-8 text" in done.stderr) == (2, True)


# diff


@pytest.mark.usefixtures("people")
def test_the_same_catalogue_changes_nothing(run: Run):
    assert run("diff").output.startswith("0 accounts would change, 0 members move, 0 accounts go over")


@pytest.mark.usefixtures("people")
def test_seats_and_policies_are_shown_before_and_after(run: Run, tmp_path: Path):
    path = changed(tmp_path, ("full = 3, viewer = 1", "full = 2, viewer = 1"), ('"strict"', '"soft"'))
    lines = run("diff", path).output.splitlines()
    assert lines[0].startswith("acme: full 3 -> 2; policy of full strict -> soft;")
    assert "OVER by 1 full" in lines[0]
    assert lines[1].startswith("calm: full 3 -> 2; ")
    assert lines[-1] == (
        "2 accounts would change, 0 members move, 1 account goes over its limit. Nothing was written."
    )


@pytest.mark.usefixtures("people")
def test_who_would_move_is_named(run: Run, tmp_path: Path):
    lines = run("diff", changed(tmp_path, ('member = "full"', 'member = "viewer"'))).output.splitlines()
    assert lines[0] == "acme: status ok -> over_limit; OVER by 1 viewer; 2 members move"
    assert lines[1:3] == ["  ada (member): full -> viewer", "  bob (member): full -> viewer"]


@pytest.mark.usefixtures("people")
def test_names_are_told_up_to_a_number(run: Run, tmp_path: Path):
    done = run("diff", changed(tmp_path, ('member = "full"', 'member = "free"')), "--names", "1")
    assert "  ada (member): full -> free\n  ... and 1 more\n" in done.output


@pytest.mark.usefixtures("people")
def test_a_role_no_longer_described_is_told(run: Run, tmp_path: Path):
    done = run("diff", changed(tmp_path, ('member = "full"\n', "")))
    assert "acme: the role member is not in the catalogue: its members keep their seat type" in done.output


@pytest.mark.usefixtures("people")
def test_json_holds_every_move_and_the_totals(run: Run, tmp_path: Path):
    done = run("diff", changed(tmp_path, ('member = "full"', 'member = "viewer"')), "--json")
    told = json.loads(done.stdout)
    assert told["totals"] == {"accounts": 1, "moves": 2, "over": 1}
    assert told["accounts"][0]["moves"][0] == {
        "member_id": "ada",
        "role": "member",
        "before": "full",
        "after": "viewer",
    }


@pytest.mark.usefixtures("people")
def test_json_without_changes_is_json_too(run: Run):
    assert json.loads(run("diff", "--json").stdout)["accounts"] == []


@pytest.mark.usefixtures("people")
def test_nothing_is_written(run: Run, tmp_path: Path, sessions: Sessions):
    def state() -> object:
        with sessions() as session:
            accounts = session.execute(select(Account.id, Account.version, Account.catalog_digest)).all()
            return sorted(accounts), session.scalar(select(func.count()).select_from(AuditRow))

    before = state()
    run("diff", changed(tmp_path, ('member = "full"', 'member = "viewer"'), ("full = 3", "full = 1")))
    assert state() == before


@pytest.mark.usefixtures("people")
def test_what_was_foretold_comes_true(run: Run, tmp_path: Path, sessions: Sessions):
    path = changed(tmp_path, ('member = "full"', 'member = "viewer"'))
    taught = parse(Path(path).read_text(encoding="utf-8"), "changed")
    with sessions.begin() as session:
        accounts.reevaluate(session, "acme", taught, a_cause())
    with sessions() as session:
        account = session.get(Account, "acme")
    assert (account.status, account.seats["viewer"]["active"], account.seats["full"]["active"]) == (
        "over_limit",
        2,
        1,
    )
