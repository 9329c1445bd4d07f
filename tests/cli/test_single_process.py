"""`seatsync web`, `worker` and `beat` become the programs that `seatsync up` starts."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from cli.main import cli
from cli.service_processes import commands
from runtime.settings import Settings


class Replaced(Exception):
    """Stands for the end of this program: another one has taken its place."""

    def __init__(self, path: str, argv: Sequence[str], env: dict[str, str]) -> None:
        super().__init__(path)
        self.path, self.argv, self.env = path, argv, env


@pytest.fixture
def become(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    def replace(*arguments) -> None:
        raise Replaced(*arguments)

    monkeypatch.setattr(os, "execve", replace)

    def become(name: str, **more: str) -> Replaced:
        with pytest.raises(Replaced) as replaced:
            CliRunner(env={**environment, **more}).invoke(cli, [name], catch_exceptions=False)
        return replaced.value

    return become


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_it_is_the_program_that_seatsync_up_starts(become, environment: dict[str, str], name: str):
    (of_up,) = (one for one in commands(Settings.from_env(environment)) if one.name == name)
    replaced = become(name)
    assert (replaced.path, replaced.argv) == (of_up.argv[0], of_up.argv)


def test_the_web_process_listens_where_the_environment_says(become):
    assert "--bind=[::]:5000" in become("web", SEATSYNC_BIND="[::]", PORT="5000").argv


@pytest.mark.parametrize("name", ["SEATSYNC_BIND", "PORT"])
def test_an_empty_variable_means_the_default_address(become, name: str):
    assert "--bind=127.0.0.1:8000" in become("web", **{name: ""}).argv


def test_a_worker_is_ended_softly_by_sigterm(become):
    assert become("worker").env["REMAP_SIGTERM"] == "SIGQUIT"


def test_the_settings_are_handed_on(become, environment: dict[str, str]):
    assert become("web").env.items() >= environment.items()
