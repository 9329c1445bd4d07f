"""A business at a simulated provider, and the command that is to know all of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result
from sqlalchemy import text

from cli.main import cli
from models.all_tables import TABLES
from models.database import Sessions
from models.installation import Installation
from runtime.settings import Settings
from runtime.wiring import Runtime, build
from simulator.server import Simulator
from simulator.world import Settings as SimulatorSettings
from tests.conftest import SECRET
from tests.simulator.driver import Control

SEATSYNC = Path(sys.executable).with_name("seatsync")
RETRIEVES = "GET /subscriptions/<subscription_id>"


class Business:
    """What is sold at the provider, with every webhook lost, and what the database knows of it."""

    def __init__(self, control: Control, environment: dict[str, str], sessions: Sessions) -> None:
        self.control = control
        self.environment = environment
        self.sessions = sessions

    # At the provider.

    def sells(self, account_id: str | None = "acme", seats: int = 0, **fields: Any) -> str:
        """A Team subscription with so many extra seats, sold to the account's one customer; its id."""
        named = {"metadata": {}}
        if account_id is not None:
            customer = {"customer_id": f"cus_of_{account_id}"}
            named = {"metadata": {"account_id": account_id}, "customer": customer}
        sold = {"addons": cart(seats), "silently": False, **named, **fields}
        subscription_id: str = self.control.create(**sold)["subscription_id"]
        return subscription_id

    def sells_many(self, count: int, **fields: Any) -> Sequence[str]:
        """For accounts `team-0` and so on; their ids, the oldest first."""
        wish = {"count": count, "account_prefix": "team", "silently": False, "subscription": fields}
        ids: Sequence[str] = self.control.call("POST", "/subscriptions/bulk", **wish)["ids"]
        return ids

    def changes(self, subscription_id: str, **fields: Any) -> None:
        self.control.call("PATCH", f"/subscriptions/{subscription_id}", **fields)

    def fails(self, *routes: str) -> None:
        """The provider answers 500 where it is asked for these; without any it is well again."""
        self.control.turn(api_fault_routes=routes or ["*"], api_500_probability=1 if routes else 0)

    def retrieves(self) -> int:
        routes = self.control.call("GET", "/requests?limit=0")["routes"]
        return routes.get(RETRIEVES, 0)

    # The command.

    def run(self, *arguments: str, **environment: str) -> Result:
        """Within this process, which spares its start."""
        told = CliRunner(env={**self.environment, **environment})
        return told.invoke(cli, arguments, catch_exceptions=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SEATSYNC, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runtime(self) -> Runtime:
        return build(Settings.from_env(self.environment), pool_size=2)

    # In the database.

    def value(self, statement: str) -> Any:
        with self.sessions() as session:
            return session.execute(text(statement)).scalar()

    def change(self, statement: str) -> None:
        with self.sessions.begin() as session:
            session.execute(text(statement))

    def purchased(self, account_id: str = "acme", seat_type: str = "full") -> int:
        with self.sessions() as session:
            seats = session.execute(
                text("SELECT seats -> :type FROM accounts WHERE id = :id"),
                {"type": seat_type, "id": account_id},
            ).scalar_one()
        return seats["included"] + seats["addon"]

    def rows(self) -> int:
        """How many there are, besides the database's own id."""
        tables = [table.__tablename__ for table in TABLES if table is not Installation]
        return sum(self.value(f"SELECT count(*) FROM {table}") for table in tables)


def cart(seats: int) -> list[dict[str, Any]]:
    return [{"addon_id": "adn_seat", "quantity": seats}] if seats else []


@pytest.fixture(scope="session")
def dodo() -> Iterator[Simulator]:
    settings = SimulatorSettings(
        webhook_url="http://127.0.0.1:9/", webhook_secret=SECRET, api_key="a-provider-key"
    )
    with Simulator(settings) as running:
        yield running


@pytest.fixture
def business(dodo: Simulator, environment: dict[str, str], sessions: Sessions) -> Iterator[Business]:
    dodo.world.reset()
    told = {
        **environment,
        "DODO_PAYMENTS_BASE_URL": dodo.url,
        "SEATSYNC_PROVIDER_RATE": "10000/second;600000/minute",
    }
    with closing(requests.Session()) as session:
        control = Control(session, dodo.control_url)
        control.turn(rate_limits=[], drop_probability=1)
        yield Business(control, told, sessions)
