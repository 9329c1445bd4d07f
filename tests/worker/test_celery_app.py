"""The Celery app: what its options promise that no other test would see."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from runtime.settings import Settings
from tests.stack import free_port
from worker.celery_app import SeatSync


def test_a_broker_that_was_away_is_found_within_two_seconds_of_its_return(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    app = SeatSync(Settings.from_env({**environment, "REDIS_URL": nobody}))
    pauses: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
    with pytest.raises(OperationalError), app.connection_for_read() as broker:
        broker.ensure_connection(lambda _error, pause: pauses.append(pause), 30)
    assert len(pauses) >= 30
    assert max(pauses) <= 2
