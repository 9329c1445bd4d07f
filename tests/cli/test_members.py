"""`seatsync members erase`: what is personal goes everywhere, seats and audit stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from sqlalchemy import func, select, text

from cli.main import cli
from domain.catalog.model import Catalog
from models.account import Account
from models.assignment import Assignment
from models.audit import AuditRow
from models.database import Sessions
from models.idempotency_key import IdempotencyKey
from runtime.wiring import Runtime
from services.ledger import accounts, claims
from services.ledger.claims import ClaimRequest
from services.ledger.erasure import ErasureRequest
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.conftest import API_KEY
from tests.factories import a_catalog, a_cause
from webhook_app.app import create_app

ADA = "ada@example.com"
Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*arguments: str, answer: str = "") -> Result:
        command = ["members", "erase", *arguments]
        return CliRunner(env=environment).invoke(cli, command, input=answer, catch_exceptions=False)

    return run


@pytest.fixture
def catalog() -> Catalog:
    return a_catalog("[free]\nincluded = { full = 5 }\n")


@pytest.fixture(autouse=True)
def people(sessions: Sessions, catalog: Catalog) -> None:
    """Ada sits in two accounts, and sat in one of them before; Bob sits beside her."""
    with sessions.begin() as session:
        for account_id in ("acme", "other"):
            accounts.open_account(session, account_id, catalog, a_cause())
            seat(session, account_id, "ada", catalog, email=ADA, name="Ada L.")
        claims.release(session, "acme", "ada", a_cause())
        seat(session, "acme", "ada", catalog, email=ADA, name="Ada L.")
        seat(session, "acme", "bob", catalog, email="bob@example.com", name="Bob")


def seat(session, account_id: str, member_id: str, catalog: Catalog, **more) -> None:
    claims.claim(
        session, account_id, ClaimRequest(member_id=member_id, role="member", **more), catalog, a_cause()
    )


def personal(sessions: Sessions) -> dict[tuple[str, str], int]:
    """How many assignments of each member still have a name or an address."""
    with sessions() as session:
        found = session.execute(
            select(Assignment.account_id, Assignment.member_id, func.count())
            .where(func.concat(Assignment.name, Assignment.email) != "")
            .group_by(Assignment.account_id, Assignment.member_id)
        )
        return {(account_id, member_id): count for account_id, member_id, count in found}


def test_a_member_is_erased_everywhere_released_seats_included(run: Run, sessions: Sessions):
    done = run("ada", "--yes")
    assert (done.exit_code, personal(sessions)) == (0, {("acme", "bob"): 1})
    assert "acme: erased from 2 assignments" in done.output
    assert "other: erased from 1 assignment;" in done.output


def test_in_one_account_the_others_are_left_alone(run: Run, sessions: Sessions):
    run("ada", "--account", "other", "--yes")
    assert personal(sessions) == {("acme", "ada"): 2, ("acme", "bob"): 1}


def test_an_address_in_other_letters_finds_the_person(run: Run, sessions: Sessions):
    done = run("--email", " Ada@Example.COM", "--yes")
    assert personal(sessions) == {("acme", "bob"): 1}
    assert "example" not in done.output.lower()


@pytest.mark.parametrize(
    "other",
    ["groß@example.com", "ｇross@example.com", "gross@exàmple.com", "gros\u0301s@example.com"],
    ids=ascii,
)
def test_an_address_that_only_looks_alike_finds_nobody(
    run: Run, sessions: Sessions, catalog: Catalog, other: str
):
    with sessions.begin() as session:
        seat(session, "acme", "gross", catalog, email="gross@example.com")
    assert run("--email", other, "--yes").exit_code == 1
    assert personal(sessions)["acme", "gross"] == 1


@pytest.mark.parametrize("spelling", ["JOSE\u0301@Bücher.example", "josé@xn--bcher-kva.example"], ids=ascii)
def test_every_spelling_of_an_address_finds_the_person(
    run: Run, sessions: Sessions, catalog: Catalog, spelling: str
):
    with sessions.begin() as session:
        seat(session, "acme", "jose", catalog, email="José@bücher.example")
    assert run("--email", spelling, "--yes").exit_code == 0
    assert ("acme", "jose") not in personal(sessions)


def test_an_address_with_an_invisible_character_is_a_mistake(run: Run):
    done = run("--email", f"{ADA}\u200b", "--yes")
    assert (done.exit_code, "invisible" in done.stderr) == (2, True)


def test_an_address_finds_also_what_the_member_had_without_it(run: Run, sessions: Sessions):
    with sessions.begin() as session:
        session.execute(text("UPDATE assignments SET email = NULL WHERE state = 'released'"))
    run("--email", ADA, "--yes")
    assert personal(sessions) == {("acme", "bob"): 1}


def test_a_dry_run_tells_and_erases_nothing(run: Run, sessions: Sessions):
    done = run("ada", "--dry-run")
    assert "acme: 2 assignments of ada, 2 of them with a name or an address" in done.output
    assert sum(personal(sessions).values()) == 4


def test_nothing_is_erased_before_a_yes(run: Run, sessions: Sessions):
    assert run("ada", answer="n\n").exit_code == 1
    assert sum(personal(sessions).values()) == 4
    assert run("ada", answer="y\n").exit_code == 0
    assert sum(personal(sessions).values()) == 1


def test_who_is_erased_keeps_the_seat(run: Run, sessions: Sessions):
    run("ada", "--yes")
    with sessions() as session:
        assert session.get(Account, "acme").seats["full"]["active"] == 2
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)


def test_the_audit_never_knew_names_or_addresses(sessions: Sessions):
    with sessions() as session:
        rows = [str(row.subject_after) + row.reason for row in session.scalars(select(AuditRow))]
    assert not [row for row in rows if "example.com" in row or "Ada L." in row]


def test_erasing_twice_erases_once(run: Run):
    run("ada", "--yes")
    again = run("ada", "--yes")
    assert (again.exit_code, "acme: erased from 0 assignments" in again.output) == (0, True)


def test_nobody_is_found_under_an_unknown_name(run: Run):
    done = run("nobody", "--yes")
    assert (done.exit_code, done.stderr) == (1, "No personal data of this person was found in any account.\n")


@pytest.mark.parametrize("named", [["ada"], ["--email", ADA]])
def test_an_account_that_is_not_known_is_told_and_nothing_is_said_of_the_person(
    run: Run, sessions: Sessions, named: list[str]
):
    done = run(*named, "--account", "typo", "--yes")
    assert (done.exit_code, "There is no account 'typo'" in done.stderr) == (1, True)
    assert sum(personal(sessions).values()) == 4


def test_what_other_accounts_keep_is_not_denied(run: Run):
    done = run("bob", "--account", "other", "--yes")
    assert (done.exit_code, "Other accounts were not searched" in done.stderr) == (1, True)


def test_who_took_an_invitation_up_under_another_id_is_erased_under_both(
    run: Run, sessions: Sessions, catalog: Catalog
):
    with sessions.begin() as session:
        seat(session, "other", "inv-1", catalog, email="eve@example.com", name="Eve")
        claims.release(session, "other", "inv-1", a_cause())
        seat(session, "other", "eve", catalog, email="Eve@Example.com")
        seat(session, "acme", "inv-1", catalog, email="eve@example.com")
    before = personal(sessions)
    done = run("eve", "--yes")
    assert personal(sessions) == {
        whose: count for whose, count in before.items() if whose not in [("other", "eve"), ("other", "inv-1")]
    }
    assert "other: 2 assignments of eve and, under the same address, inv-1" in done.output
    assert "other: erased from 2 assignments" in done.output


def test_an_id_that_somebody_else_had_before_is_left_to_them(run: Run, sessions: Sessions, catalog: Catalog):
    with sessions.begin() as session:
        for email in ("eve@example.com", "mallory@example.com"):
            seat(session, "other", "inv-1", catalog, email=email)
            claims.release(session, "other", "inv-1", a_cause())
        seat(session, "other", "eve", catalog, email="eve@example.com")
    run("eve", "--yes")
    assert personal(sessions)["other", "inv-1"] == 1


@pytest.mark.parametrize("blank", ["", "  "])
def test_no_address_is_nobody_and_not_everybody_without_one(
    run: Run, sessions: Sessions, catalog: Catalog, blank: str
):
    with sessions.begin() as session:
        seat(session, "acme", "eve", catalog, name="Eve")
    done = run("--email", blank, "--yes")
    assert (done.exit_code, "--email is empty" in done.stderr) == (2, True)
    assert personal(sessions)["acme", "eve"] == 1


@pytest.mark.parametrize("named", [{}, {"email": " "}, {"member_id": ""}, {"member_id": "ada", "email": ADA}])
def test_a_person_has_one_name(named: dict[str, str]):
    with pytest.raises(ValueError, match="not by both"):
        ErasureRequest(**named)


@pytest.mark.parametrize("arguments", [[], ["ada", "--email", ADA]])
def test_one_way_to_name_the_person_is_needed(run: Run, arguments: list[str]):
    assert run(*arguments, "--yes").exit_code == 2


class Unheard:
    def wake(self, subscription_id: str, delay: float = 0.0) -> None:
        pass


@pytest.fixture
def client(runtime: Runtime) -> FlaskClient:
    return create_app(runtime, Unheard()).test_client()


def claim(client: FlaskClient, member_id: str, email: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": key}
    body = {"member_id": member_id, "role": "member", "email": email}
    assert client.post("/v1/accounts/acme/claims", json=body, headers=headers).status_code in (200, 201)


def keys(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return sorted(session.scalars(select(IdempotencyKey.key)))


def test_kept_answers_that_repeat_the_person_are_dropped(run: Run, client: FlaskClient, sessions: Sessions):
    claim(client, "ada", ADA, "first")
    claim(client, "bob", "bob@example.com", "second")
    claim(client, "eve", "eve@example.com", f"invite {ADA}")
    done = run("ada", "--yes")
    assert "acme: erased from 2 assignments; 2 stored responses deleted" in done.output
    assert keys(sessions) == ["second"]


def test_answers_of_other_accounts_are_kept(run: Run, client: FlaskClient, sessions: Sessions):
    claim(client, "ada", ADA, "first")
    run("ada", "--account", "other", "--yes")
    assert keys(sessions) == ["first"]
