"""What every command with a catalogue and a provider has in common."""

from __future__ import annotations

import logging

import pytest

from cli.command_runtime import command_runtime
from services.sync import subscription


def test_the_log_of_the_services_is_not_shown_beside_the_commands_own_report(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with command_runtime("seatsync-test"):
        services = logging.getLogger(subscription.__name__.partition(".")[0])
    assert any(isinstance(handler, logging.NullHandler) for handler in services.handlers)
