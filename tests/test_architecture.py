"""The house keeps its own rules."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from cli.fleet import commands
from cli.main import cli
from runtime.settings import Settings, described
from tests.parallel import SPREAD

HOUSE = Path(__file__).parent.parent
ROOMS = ("seats", "models", "providers", "runtime", "worker", "webhook_app", "cli", "simulator")
README = (HOUSE / "README.md").read_text(encoding="utf-8")
PROCFILE = (HOUSE / "Procfile").read_text(encoding="utf-8")


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in (HOUSE / room).rglob("*.py")]


def places(pattern: str, *rooms: str) -> list[str]:
    return [
        f"{path.relative_to(HOUSE)}: {line.strip()}"
        for path in sources(*rooms)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(pattern, line)
    ]


def test_the_memory_never_commits():
    assert places(r"\.(commit|rollback)\(", "models") == []


def test_only_the_settings_and_the_starters_of_processes_know_the_environment():
    found = places(r"os\.environ|import environ|getenv", *ROOMS)
    assert {place.split(":")[0] for place in found} <= {
        "runtime/settings.py",
        "cli/fleet.py",
        "cli/demo/command.py",
    }


def test_no_import_hides_in_a_function():
    assert places(r"^\s+(import|from)\s+\w+.*import|^\s{4,}import ", *ROOMS) == []


def test_nothing_is_left_for_later():
    assert places(r"TODO|FIXME|XXX", *ROOMS) == []


def test_sql_is_never_put_together_from_text():
    assert places(r"(sql|text)\(\s*f[\"']", "models", "worker", "webhook_app") == []


@pytest.mark.parametrize("name", described())
def test_the_readme_describes_every_setting(name: str):
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", cli.list_commands(click.Context(cli)))
def test_the_readme_names_every_command(name: str):
    assert f"seatsync {name}" in README


def test_the_procfile_starts_what_seatsync_up_starts(settings: Settings):
    procfile = {}
    for line in PROCFILE.splitlines():
        name, _, command = line.partition(": ")
        filled = command.replace("${SEATSYNC_BIND:-127.0.0.1}", settings.bind)
        words = shlex.split(filled.replace("${PORT:-8000}", str(settings.port)))
        procfile[name] = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    up = {one.name: [Path(one.argv[0]).name, *one.argv[1:]] for one in commands(settings, {})}
    assert procfile == {**up, "release": ["seatsync", "migrate"]}


def test_the_lock_files_carry_hashes_and_no_address():
    for name in ("requirements.txt", "requirements-dev.txt"):
        lock = (HOUSE / name).read_text(encoding="utf-8")
        assert "--hash=sha256:" in lock
        assert "://" not in lock


def test_every_direct_dependency_is_locked():
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (HOUSE / "requirements.txt").read_text(encoding="utf-8")
    for wish in project["dependencies"]:
        name = re.split(r"[\[<>=]", wish)[0]
        assert f"\n{name}==" in lock


@pytest.mark.parametrize("file", sorted(SPREAD))
def test_the_files_whose_tests_are_spread_over_processes_exist(file: str):
    assert (HOUSE / file).is_file()
