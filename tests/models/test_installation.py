"""The installation: each database has its own id, which no other one shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from domain.errors import NamespaceUnknown
from models.database import Sessions, connect, session_factory
from models.installation import Namespace, read_id
from tests.servers import Databases


def id_of(sessions: Sessions) -> str:
    with sessions.begin() as session:
        return read_id(session)


@pytest.fixture
def another(postgres: Databases) -> Iterator[Engine]:
    """Another copy of the database that ours was copied from."""
    engine = connect(postgres.create_database("another", is_migrated=True))
    yield engine
    engine.dispose()
    postgres.drop_database("another")


def test_the_id_stays(sessions: Sessions):
    assert id_of(sessions) == id_of(sessions)


def test_a_copy_of_the_database_has_another_id(sessions: Sessions, another: Engine):
    copied = session_factory(another)
    with sessions.begin() as ours, copied.begin() as theirs:
        original = read_id(ours)
        row = ours.execute(text("SELECT id FROM installation")).scalar_one()
        theirs.execute(text("UPDATE installation SET id = :id"), {"id": row})
    assert id_of(copied) != original


def test_a_migrated_database_has_its_id_from_the_start(another: Engine):
    with another.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM installation")) == 1


def test_there_is_never_a_second_id(another: Engine):
    with another.connect() as connection, pytest.raises(Exception, match="installation_pkey"):
        connection.execute(text("INSERT INTO installation DEFAULT VALUES"))


def test_the_namespace_asks_the_database_once(sessions: Sessions):
    namespace = Namespace(sessions)
    first = namespace()
    with sessions.begin() as session:
        session.execute(text("UPDATE installation SET id = gen_random_uuid()"))
    assert namespace() == first == f"seatsync:{first.split(':')[1]}:"


@pytest.mark.parametrize("schema", ["no database", "no table"])
def test_without_an_id_there_is_no_namespace_until_the_database_can_tell(postgres: Databases, schema: str):
    url = "postgresql+psycopg://nobody@127.0.0.1:9/nothing"
    engine = connect(postgres.create_database("bare") if schema == "no table" else url)
    with pytest.raises(NamespaceUnknown, match="seatsync migrate"):
        Namespace(session_factory(engine))()
    engine.dispose()
