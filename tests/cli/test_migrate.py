"""`seatsync migrate`: what a person has to decide after it is named."""

from __future__ import annotations

from click.testing import CliRunner
from sqlalchemy import text

from cli.main import cli
from models import ledger, seating
from models.seating import Wish
from models.session import Sessions
from seats.catalog import Catalog
from tests.factories import a_cause


def test_members_who_share_an_address_are_named_without_it(
    environment: dict[str, str], sessions: Sessions, catalog: Catalog
):
    shared = (
        "UPDATE assignments SET email_key = 'ada@example.com', email_shared = true WHERE member_id = 'ida'"
    )
    with sessions.begin() as session:
        ledger.open_account(session, "acme", catalog, a_cause())
        for member_id in ("ada", "ida"):
            wish = Wish(member_id=member_id, role="client", email=f"{member_id}@example.com")
            seating.claim(session, "acme", wish, catalog, a_cause())
        session.execute(text(shared))
    done = CliRunner(env=environment).invoke(cli, ["migrate"], catch_exceptions=False)
    assert "  acme: ida has the address of ada\n" in done.stdout
    assert "@" not in done.stdout
