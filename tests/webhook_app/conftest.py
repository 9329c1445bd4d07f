"""A door over the real memory: what it rings for is written down instead of published."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from flask import Flask
from flask.testing import FlaskClient

from runtime.wiring import Runtime
from tests.conftest import API_KEY
from webhook_app import create_app


@dataclass
class SilentDoorbell:
    rung: list[str] = field(default_factory=list)

    def ring(self, subscription_id: str, delay: float = 0.0) -> None:
        self.rung.append(subscription_id)


@pytest.fixture
def doorbell() -> SilentDoorbell:
    return SilentDoorbell()


@pytest.fixture
def app(runtime: Runtime, doorbell: SilentDoorbell) -> Flask:
    return create_app(runtime, doorbell)


@pytest.fixture
def anyone(app: Flask) -> FlaskClient:
    """Without a key."""
    return app.test_client()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """With a key that may do everything."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_KEY}"
    return client
