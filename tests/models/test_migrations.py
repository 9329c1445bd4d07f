"""The migrations lead to the schema of the models, and can be applied and reverted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect

import migrations
from models.all_tables import TABLES, metadata
from tests.servers import Databases


@pytest.fixture
def empty(postgres: Databases) -> Iterator[Engine]:
    engine = create_engine(postgres.create_database("migrations"))
    yield engine
    engine.dispose()
    postgres.drop_database("migrations")


def test_the_newest_revision_is_what_the_models_say(empty: Engine):
    migrations.upgrade(empty)
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_upgrading_twice_is_a_quiet_no_op(empty: Engine):
    migrations.upgrade(empty)
    migrations.upgrade(empty)


def test_every_revision_can_be_taken_back(empty: Engine):
    migrations.upgrade(empty)
    migrations.downgrade(empty, "base")
    assert inspect(empty).get_table_names() == ["alembic_version"]


def test_all_tables_are_known_to_the_migrations():
    assert {table.__tablename__ for table in TABLES} == set(metadata.tables)


def test_there_is_one_newest_revision(empty: Engine):
    command.check(migrations.config(_migrated(empty)))


FIVE, SIX, NINE = ({"full": {"included": 5, "addon": number}} for number in (0, 1, 4))


def test_links_and_figures_from_before_ownership_are_kept(empty: Engine):
    """A subscription raised by a webhook body gets its verified figures back from the audit."""
    migrations.upgrade(empty, "0015")
    _fill_as_before_ownership(empty)
    migrations.upgrade(empty, "0016")
    wanted = "account_id, linked_by, seats, status, raised_seats, raised_status"
    assert _subscriptions(empty, wanted) == [
        ("acme", "metadata", SIX, "active", None, None),
        ("acme", "metadata", FIVE, "on_hold", NINE, "active"),
        ("acme", "app", None, None, NINE, "active"),
    ]
    migrations.downgrade(empty, "0015")
    assert _subscriptions(empty, "seats, status") == [(SIX, "active"), (NINE, "active"), (NINE, "active")]


def _fill_as_before_ownership(engine: Engine) -> None:
    account = "INSERT INTO accounts (id, status, policy, hold, seats, catalog_digest) VALUES {}"
    subscription = (
        "INSERT INTO subscriptions (id, account_id, linked_by, seats, status, unverified) "
        "VALUES (%s, 'acme', %s, %s, 'active', %s)"
    )
    audit = (
        "INSERT INTO audit (account_id, actor, source, reason, subscription_id, after, subject_after) "
        "VALUES ('acme', 'a', 's', 'r', 'sub_2', '{}', %s)"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(account.format("('acme', 'ok', 'strict', '7 days', '{}', '')"))
        for name, linked_by, seats, unverified in (
            ("sub_1", "metadata", SIX, None),
            ("sub_2", "metadata", NINE, "{}"),
            ("sub_3", "app", NINE, "{}"),
        ):
            connection.exec_driver_sql(subscription, (name, linked_by, json.dumps(seats), unverified))
        for verified, status, seats in (
            (True, "paused", SIX),
            (True, "on_hold", FIVE),
            (False, "active", NINE),
        ):
            facts = {"verified": verified, "status": status, "seats": seats}
            connection.exec_driver_sql(audit, (json.dumps(facts),))


def _subscriptions(engine: Engine, columns: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT {columns} FROM subscriptions ORDER BY id")
        return [tuple(row) for row in found]


def _migrated(engine: Engine) -> Engine:
    migrations.upgrade(engine)
    return engine


def test_an_endpoint_for_failed_changes_gets_the_new_name_of_the_notice(empty: Engine):
    migrations.upgrade(empty, "0018")
    with empty.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO notice_endpoints (id, url, secrets, types) VALUES "
            "('ep_1', 'https://a.example', '{whsec_1}', '{seat.blocked,seat.change_failed}'), "
            "('ep_2', 'https://b.example', '{whsec_2}', NULL)"
        )
    migrations.upgrade(empty, "0019")
    assert _types(empty) == [["seat.blocked", "seat_change.failed"], None]
    migrations.downgrade(empty, "0018")
    assert _types(empty) == [["seat.blocked", "seat.change_failed"], None]


def _types(engine: Engine) -> list[list[str] | None]:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT types FROM notice_endpoints ORDER BY id")
        return [row.types for row in rows]
