"""The commands that README and manual show succeed, against a simulated provider."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Business, business, dodo  # noqa: F401  fixtures
from tests.docs.manual import EXAMPLE, commands, pages_with

pytestmark = pytest.mark.long(seconds=30)

# Not run here: commands that run until they are stopped, prepare a shell, or change the repository.
# `seatsync up` has its own tests, and `test_links` checks the targets of the Makefile.
NOT_RUN = ("export ", "git ", "make ", "seatsync up")
# The service's processes do not run here, so `seatsync doctor` has warnings.
EXIT_CODES = {"seatsync doctor": {1, 2}}

PEOPLE = """\
account_id,member_id,role,email
acme,user-77,team_member,ada@example.com
acme,user-78,team_member,
"""


@pytest.fixture
def shown_business(business: Business, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Business:  # noqa: F811
    """An account with fifteen seats and two members; the files that commands name are in this folder."""
    for name in ("catalog.toml", "new.toml"):
        shutil.copy(EXAMPLE, tmp_path / name)
    (tmp_path / "people.csv").write_text(PEOPLE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    business.environment["SEATSYNC_CATALOG"] = "catalog.toml"
    business.sells("acme", seats=10)
    for command in ("sync --all", "import members people.csv"):
        assert business.run(*command.split()).exit_code == 0
    return business


@pytest.mark.parametrize("page", pages_with("console"))
def test_the_commands_of_a_page_run(page: str, shown_business: Business):
    for command in commands(page):
        if not command.startswith(NOT_RUN):
            program, *arguments = shlex.split(command.partition(" > ")[0])
            done = shown_business.run(*arguments)
            assert program == "seatsync"
            assert done.exit_code in EXIT_CODES.get(command, {0}), f"{command}\n{done.output}"
