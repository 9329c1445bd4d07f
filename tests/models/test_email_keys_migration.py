"""The migration that adds normalised addresses: all rows get one, duplicates are marked and not merged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

import migrations
from models.assignment import SharedAddress, shared_addresses
from tests.servers import Databases

# Member, address as it was stored, state.
BEFORE = [
    ("inv-1", "jose\u0301@example.com", "held"),
    ("jose", "josé@example.com", "active"),
    ("jose-2", "josé@example.com\u200b", "suspended"),
    ("left", "josé@example.com", "released"),
    ("ada", "ada@bücher.example", "active"),
    ("ida", "ada@xn--bcher-kva.example", "active"),
    ("eve", "eve@example.com", "active"),
    ("nobody", None, "active"),
]


def revision_before(engine: Engine) -> str:
    return str(ScriptDirectory.from_config(migrations.config(engine)).get_revision("0011").down_revision)


@pytest.fixture
def before(postgres: Databases) -> Iterator[Engine]:
    """A database with members, at the previous revision."""
    engine = create_engine(postgres.create_database("email_keys"))
    migrations.upgrade(engine, revision_before(engine))
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO accounts (id, status, policy, hold, seats, catalog_digest) "
                "VALUES ('acme', 'ok', 'strict', '7 days', '{}', '')"
            )
        )
        for member_id, email, state in BEFORE:
            connection.execute(
                text(
                    "INSERT INTO assignments "
                    "(account_id, member_id, email, role, state, expires_at, released_at) "
                    "VALUES ('acme', :member_id, :email, 'client', :state, "
                    "CASE :state WHEN 'held' THEN now() END, CASE :state WHEN 'released' THEN now() END)"
                ),
                {"member_id": member_id, "email": email, "state": state},
            )
    yield engine
    engine.dispose()
    postgres.drop_database("email_keys")


def kept(engine: Engine) -> list[tuple[str, str | None, str]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT member_id, email, state FROM assignments ORDER BY id"))
        return [tuple(row) for row in found]


def test_nothing_is_merged_and_what_collides_is_named(before: Engine):
    migrations.upgrade(before)
    assert kept(before) == BEFORE
    with Session(before) as session:
        assert shared_addresses(session) == [
            SharedAddress("acme", "inv-1", "jose"),
            SharedAddress("acme", "jose-2", "jose"),
            SharedAddress("acme", "ida", "ada"),
        ]


def test_every_address_gets_its_key(before: Engine):
    migrations.upgrade(before)
    with before.connect() as connection:
        keys = connection.scalars(text("SELECT DISTINCT email_key FROM assignments WHERE email IS NOT NULL"))
        assert sorted(keys) == ["ada@xn--bcher-kva.example", "eve@example.com", "josé@example.com"]


def test_a_row_that_the_release_before_writes_gets_a_key_and_loses_it_with_the_address(before: Engine):
    migrations.upgrade(before)
    with before.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO assignments (account_id, member_id, email, role, state) "
                "VALUES ('acme', 'late', 'Late@Example.com', 'client', 'active')"
            )
        )
        key = "SELECT email_key FROM assignments WHERE member_id = 'late'"
        assert connection.scalar(text(key)) == "late@example.com"
        connection.execute(text("UPDATE assignments SET email = NULL WHERE member_id = 'late'"))
        assert connection.scalar(text(key)) is None


def test_going_back_leaves_every_member_an_address_of_their_own(before: Engine):
    migrations.upgrade(before)
    with before.begin() as connection:
        connection.execute(text("UPDATE assignments SET email = 'Eve@example.com' WHERE member_id = 'eve'"))
    migrations.downgrade(before, revision_before(before))
    assert [row for row in kept(before) if row[0] != "nobody"] == [row for row in BEFORE if row[1]]
    migrations.upgrade(before)
