"""The schema's history ends where the models are, and can be walked both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect

import migrations
from models.tables import TABLES, metadata
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


def _migrated(engine: Engine) -> Engine:
    migrations.upgrade(engine)
    return engine
