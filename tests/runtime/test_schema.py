"""The schema's revision: no process starts on a database that lacks what it needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

import migrations
from domain.errors import SettingsError
from models.database import connect, session_factory
from runtime import schema
from tests.servers import Databases


@pytest.fixture
def engine(postgres: Databases) -> Iterator[Engine]:
    """An empty database."""
    engine = create_engine(postgres.create_database("schema"))
    yield engine
    engine.dispose()
    postgres.drop_database("schema")


def test_the_newest_revision_is_the_one_that_alembic_finds():
    assert schema.newest() == migrations.newest()


def test_a_database_is_as_far_as_it_was_migrated(engine: Engine):
    found = []
    with session_factory(engine)() as session:
        found.append(schema.revision_of(session))
    for revision in ("0001", "head"):
        migrations.upgrade(engine, revision)
        with session_factory(engine)() as session:
            found.append(schema.revision_of(session))
    assert found == [None, "0001", schema.newest()]


@pytest.mark.parametrize("revision", [None, "0001"])
def test_a_database_that_is_not_migrated_is_refused_with_what_to_do(engine: Engine, revision: str | None):
    if revision:
        migrations.upgrade(engine, revision)
    with pytest.raises(SettingsError) as refused:
        schema.require(session_factory(engine))
    assert "Run `seatsync migrate`" in refused.value.message


def test_a_database_that_is_away_is_waited_for_later():
    schema.require(session_factory(connect("postgresql://nobody@127.0.0.1:9/nothing")))


def test_a_newer_database_is_accepted(engine: Engine):
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'of the next release'"))
    schema.require(session_factory(engine))


def test_revisions_come_after_each_other_as_they_state_and_not_by_their_names(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(schema, "_history", lambda: {"0003": None, "0001": "0003", "0002": "0001"})
    assert schema.newest() == "0002"
    assert [schema.is_behind(one) for one in (None, "0003", "0001", "0002", "0004")] == [
        True,
        True,
        True,
        False,
        False,
    ]


SEATSYNC = str(Path(sys.executable).parent / "seatsync")
WORKER = (
    *(sys.executable, "-m", "celery", "--app=worker.main", "--quiet", "worker"),
    *("--pool=solo", "--without-gossip", "--without-mingle", "--loglevel=warning"),
)
WEB = (sys.executable, "-c", "from webhook_app.main import create; create()")


@pytest.mark.parametrize("command", [(SEATSYNC, "sweeper"), WORKER, WEB], ids=["sweeper", "worker", "web"])
def test_no_process_starts_on_a_database_that_is_not_migrated(
    engine: Engine, environment: dict[str, str], command: tuple[str, ...]
):
    url = engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        command,
        env={**environment, "DATABASE_URL": url},
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    assert done.returncode != 0
    assert "Run `seatsync migrate`" in done.stderr
