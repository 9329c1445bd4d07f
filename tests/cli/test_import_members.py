"""`seatsync import members` with a real database and killed processes: no row is lost or imported twice."""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, text

from cli.main import cli
from cli.member_import.importer import exclusive_lock
from domain.catalog.model import Catalog
from domain.errors import NoSeatAvailable
from models.account import Account
from models.assignment import Assignment
from models.audit import AuditRow, Cause
from models.database import Sessions
from models.member_import import Import
from runtime.settings import Settings
from runtime.wiring import read_catalog
from services.ledger import accounts, claims
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.ledger.locked_account import LockedAccount
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.factories import a_cause
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.long(seconds=18)

SEATSYNC = Path(sys.executable).with_name("seatsync")
HEADER = "account_id,member_id,role"
FREE = "\n[free]\nincluded = { full = 5 }\n"


class Importer:
    """Runs imports into accounts with five full seats each."""

    def __init__(
        self, environment: dict[str, str], sessions: Sessions, folder: Path, catalog: Catalog
    ) -> None:
        self.environment = environment
        self.sessions = sessions
        self.folder = folder
        self.catalog = catalog

    def open_accounts(self, *account_ids: str) -> None:
        with self.sessions.begin() as session:
            for account_id in account_ids:
                accounts.open_account(session, account_id, self.catalog, a_cause())

    def file(self, *rows: str, header: str = HEADER, name: str = "members.csv") -> Path:
        return self.written("".join(f"{row}\n" for row in (header, *rows)).encode(), name)

    def written(self, content: bytes, name: str = "members.csv") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def start(self, path: Path, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SEATSYNC, "import", "members", path, *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, path: Path, *options: str) -> Done:
        """Run the command in this process, which is faster than starting one."""
        arguments = ["import", "members", str(path), *options]
        result = CliRunner(env=self.environment).invoke(cli, arguments, catch_exceptions=False)
        return Done(result.exit_code, result.stdout, result.stderr)

    def run_process(self, path: Path, *options: str) -> Done:
        process = self.start(path, *options)
        out, err = process.communicate(timeout=120)
        return Done(process.returncode, out, err)

    def claim_and_release(self) -> None:
        """The app claims a seat for another member, if one is available, and releases it."""
        request = ClaimRequest(member_id="walk-in", role="member")
        with suppress(NoSeatAvailable), self.sessions.begin() as session:
            claims.claim(session, "acme", request, self.catalog, a_cause())
        with self.sessions.begin() as session:
            claims.release(session, "acme", "walk-in", a_cause())

    def member_ids(self, account_id: str = "acme") -> list[str]:
        with self.sessions() as session:
            return list(
                session.scalars(
                    select(Assignment.member_id)
                    .where(Assignment.account_id == account_id)
                    .order_by(Assignment.id)
                )
            )

    def person(self, member_id: str) -> Assignment:
        with self.sessions() as session:
            return session.scalars(select(Assignment).where(Assignment.member_id == member_id)).one()

    def count(self) -> int:
        with self.sessions() as session:
            return session.scalar(select(func.count()).select_from(Assignment)) or 0

    def newest_import(self) -> Import:
        with self.sessions() as session:
            return session.scalars(select(Import).order_by(Import.id.desc()).limit(1)).one()

    def check(self) -> None:
        with self.sessions() as session:
            assert_audit_matches_the_tables(session)
            assert_balances_count_the_assignments(session)


class Done:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]


@pytest.fixture
def importer(environment: dict[str, str], sessions: Sessions, tmp_path: Path, catalog_file: Path) -> Importer:
    catalog_file.write_text(catalog_file.read_text(encoding="utf-8") + FREE, encoding="utf-8")
    importer = Importer(environment, sessions, tmp_path, read_catalog(Settings.from_env(environment)))
    importer.open_accounts("acme")
    return importer


# Good rows.


def test_every_member_gets_a_seat(importer: Importer):
    done = importer.run_process(importer.file("acme,ada,member", "acme,bob,admin"))
    assert (done.code, done.err.count("line")) == (0, 0)
    assert done.last_line == "Imported: 2 added, 0 updated, 0 unchanged, 0 rejected."
    importer.check()


def test_everything_a_row_says_is_kept(importer: Importer):
    header = "member_id,account_id,role,email,name,protected,last_active_at"
    importer.run(
        importer.file("ada,acme,member,Ada@Example.com,Ada L.,yes,2026-11-01T10:00:00+02:00", header=header)
    )
    ada = importer.person("ada")
    assert (ada.email, ada.name, ada.protected) == ("Ada@Example.com", "Ada L.", True)
    assert ada.last_active_at.isoformat() == "2026-11-01T08:00:00+00:00"


def test_an_invitation_can_be_imported(importer: Importer):
    importer.run(importer.file("acme,ada,member,true", header=f"{HEADER},hold"))
    assert importer.person("ada").state == "held"


def test_a_second_run_changes_nothing(importer: Importer):
    path = importer.file("acme,ada,member", "acme,guest,client")
    importer.run(path)
    again = importer.run(path)
    assert (again.code, again.last_line) == (0, "Imported: 0 added, 0 updated, 2 unchanged, 0 rejected.")


def test_the_same_row_twice_is_one_member(importer: Importer):
    done = importer.run(importer.file("acme,ada,member", "acme,ada,member"))
    assert (done.code, importer.member_ids()) == (0, ["ada"])


def test_a_member_who_was_invited_is_confirmed(importer: Importer):
    importer.run(importer.file("acme,ada,member,yes", header=f"{HEADER},hold"))
    done = importer.run(importer.file("acme,ada,member"))
    assert done.last_line == "Imported: 0 added, 1 updated, 0 unchanged, 0 rejected."


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(importer: Importer):
    done = importer.run(importer.written(codecs.BOM_UTF8 + f"{HEADER}\r\nacme,ada,member\r\n".encode()))
    assert (done.code, importer.member_ids()) == (0, ["ada"])


def test_json_is_an_array_of_objects(importer: Importer):
    people = [
        {"account_id": "acme", "member_id": "ada", "role": "member", "protected": True, "email": None},
        {"account_id": "acme", "member_id": "bob", "role": "wizard"},
    ]
    done = importer.run(importer.written(json.dumps(people, indent=1).encode(), "members.json"))
    assert (done.code, importer.member_ids(), importer.person("ada").protected) == (1, ["ada"], True)
    assert "object 2: The catalogue has no role 'wizard'" in done.err


def test_accounts_are_opened_when_asked_for(importer: Importer):
    path = importer.file("fresh,ada,member")
    assert "line 2: there is no account 'fresh'" in importer.run(path).err
    assert importer.run(path, "--create-accounts").code == 0
    assert importer.member_ids("fresh") == ["ada"]
    importer.check()


def test_a_file_without_members_is_imported_at_once(importer: Importer):
    assert importer.run(importer.file()).code == 0


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_roles_in_another_case_are_warned_of_once_each(
    importer: Importer, catalog_file: Path, options: tuple[str, ...]
):
    text = catalog_file.read_text(encoding="utf-8").replace("[roles]", '[roles]\n"*" = "full"')
    catalog_file.write_text(text, encoding="utf-8")
    done = importer.run(importer.file("acme,ada,Client", "acme,bob,Client", "acme,cyd,client"), *options)
    assert done.code == 0
    assert done.err.count("warning: 2 rows: The catalogue has no role 'Client'") == 1


# Bad rows.


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("acme,,member,", "member_id is missing"),
        ("acme,ada,wizard,", "has no role 'wizard'"),
        ("acme,ada,member,nowhere", "email is not an e-mail address"),
        ("acme,ada,member,ada@example.com\u200b", "email must not hold invisible characters"),
        ("acme,..,member,", "member_id must not be `.` or `..`"),
        ("..,ada,member,", "account_id must not be `.` or `..`"),
        ("acme,a\x07da,member,", "member_id must not hold control characters"),
        ("acme,ada,member", "has 3 cells where the header has 4"),
        ('acme,"ada"x,member,', "cannot be read"),
        (f"acme,{'a' * 201},member,", "member_id is longer than 200 characters"),
        ("acme,ada,\udcffmember,", "role is not UTF-8 text"),
    ],
)
def test_a_bad_row_is_told_and_stops_nobody(importer: Importer, row: str, reason: str):
    content = f"{HEADER},email\nacme,first,member,\n{row}\nacme,last,member,\n"
    done = importer.run(importer.written(content.encode("utf-8", "surrogateescape")))
    assert (done.code, importer.member_ids()) == (1, ["first", "last"])
    assert "line 3: " in done.err
    assert reason in done.err


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("0001-01-01T00:00:00+01:00", "must be a time since 1970"),
        ("1969-12-31T23:59:59Z", "must be a time since 1970"),
        ("9999-12-31T23:59:59-14:00", "must be a time since 1970"),
        ("9999-12-31T23:59:59Z", "is in the future"),
    ],
)
def test_an_activity_that_nobody_can_have_had_is_told_and_stops_nobody(
    importer: Importer, told: str, reason: str, options: tuple[str, ...]
):
    rows = ["acme,first,member,", f"acme,ada,member,{told}", "acme,last,member,1970-01-01T00:00:00Z"]
    done = importer.run(importer.file(*rows, header=f"{HEADER},last_active_at"), *options)
    assert (done.code, "2 added" in done.last_line) == (1, True)
    assert f"line 3: last_active_at {reason}" in done.err


def test_an_activity_of_a_clock_that_is_ahead_was_just_now(importer: Importer):
    ahead = datetime.now(UTC) + timedelta(hours=6)
    done = importer.run(
        importer.file(f"acme,ada,member,{ahead.isoformat()}", header=f"{HEADER},last_active_at")
    )
    assert (done.code, importer.person("ada").last_active_at < ahead - timedelta(hours=5)) == (0, True)


def test_a_row_the_database_does_not_take_stops_nobody(importer: Importer, monkeypatch: pytest.MonkeyPatch):
    def seat(account: LockedAccount, wish: ClaimRequest, catalog: Catalog, cause: Cause) -> ClaimOutcome:
        if wish.member_id == "ada":
            account.session.execute(text("SELECT 1 / 0"))
        return seated(account, wish, catalog, cause)

    seated = claims.claim_locked
    monkeypatch.setattr(claims, "claim_locked", seat)
    rows = ["acme,first,member", "fresh,ada,member", "acme,ada,member", "acme,last,member"]
    done = importer.run(importer.file(*rows), "--create-accounts")
    assert (done.code, "2 added, 0 updated, 0 unchanged, 2 rejected" in done.last_line) == (1, True)
    assert "line 4: the database refuses its values: DivisionByZero" in done.err
    assert importer.member_ids() == ["first", "last"]
    importer.check()


def test_the_last_seat_is_not_sold_twice(importer: Importer):
    done = importer.run(importer.file(*(f"acme,member-{number},member" for number in range(7))))
    assert (done.code, len(importer.member_ids())) == (1, 5)
    assert done.last_line == "Imported: 5 added, 0 updated, 0 unchanged, 2 rejected."
    assert "line 7: " in done.err
    assert "line 8: " in done.err
    importer.check()


def test_the_same_member_with_other_values_is_a_mistake(importer: Importer):
    done = importer.run(importer.file("acme,ada,member", "acme,bob,member", "acme,ada,client"))
    assert importer.person("ada").role == "member"
    assert "line 4: the member already appears at 2 with other values" in done.err


def test_a_role_of_another_seat_type_is_a_move(importer: Importer):
    importer.run(
        importer.file(
            *(f"acme,m{number},member" for number in range(4)), "acme,ada,client", "acme,ida,client"
        )
    )
    done = importer.run(importer.file("acme,ada,member", "acme,ida,member"))
    assert done.last_line == "Imported: 0 added, 1 updated, 0 unchanged, 1 rejected."
    assert (importer.person("ada").seat_type, importer.person("ida").seat_type) == ("full", None)
    importer.check()


def test_one_address_is_one_person(importer: Importer):
    done = importer.run(
        importer.file("acme,ada,member,a@x.org", "acme,ida,member,A@X.org", header=f"{HEADER},email")
    )
    assert importer.member_ids() == ["ada"]
    assert "line 3: Member 'ada' of this account already has that e-mail address." in done.err
    assert "x.org" not in done.err.lower()


def test_line_numbers_stay_right_behind_line_ends_in_quotes(importer: Importer):
    done = importer.run(
        importer.file('acme,ada,member,"a\n\nb"', "acme,bob,wizard,", header=f"{HEADER},name")
    )
    assert "line 2: name contains a line break; is a quote not closed? (lines 2 to 4)" in done.err
    assert "line 5: " in done.err


def test_a_stray_quote_tells_every_line_it_swallowed(importer: Importer):
    swallowed = [f"acme,m{number},Name {number},client" for number in range(2, 12)]
    rows = [
        'acme,m1,"Smith,client',
        *swallowed,
        'acme,m12,Jones",client',
        "acme,m13,ok,client",
        "acme,,no,client",
    ]
    done = importer.run(importer.file(*rows, header="account_id,member_id,name,role"))
    assert (done.code, importer.member_ids()) == (1, ["m13"])
    assert "line 2: name contains a line break; is a quote not closed? (lines 2 to 13)" in done.err
    assert "line 15: member_id is missing" in done.err


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('acme,"ada\n",member,', "member_id contains a line break; is a quote not closed? (lines 2 to 3)"),
        ('acme,ada,member,"\r\n"', "email contains a line break; is a quote not closed? (lines 2 to 3)"),
        ('acme,"ada\nacme,bob"', "has 2 cells where the header has 4 (lines 2 to 3)"),
        ('acme,"ada\nacme"x,member,', "is a quote not closed? (lines 2 to 3)"),
        ('"ac\nme","ada\n",member,', "account_id and member_id contain a line break"),
    ],
)
def test_a_row_of_several_lines_is_told_with_all_of_them(importer: Importer, row: str, reason: str):
    done = importer.run(importer.file(row, "acme,last,member,", header=f"{HEADER},email"))
    assert (done.code, importer.member_ids()) == (1, ["last"])
    assert reason in done.err


def test_a_quote_left_open_does_not_swallow_the_whole_file(importer: Importer):
    rows = [f"guest-{number:04},client" for number in range(2000)]
    done = importer.run(importer.file('acme,"ada,member', *(f"acme,{row}" for row in rows)))
    assert "line 2: cannot be read" in done.err
    assert "is a quote not closed? (lines 2 to" in done.err
    assert len(importer.member_ids()) > 1000


def test_rejects_are_written_with_line_and_reason(importer: Importer):
    rejects = importer.folder / "rejects.csv"
    importer.run(
        importer.file("acme,ada,wizard", "acme,bob,member", "acme,,member"), "--rejects", str(rejects)
    )
    with rejects.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["line"] for row in rows] == ["2", "4"]
    assert rows[1]["reason"] == "member_id is missing"


def test_the_file_itself_is_no_place_for_its_rejects(importer: Importer):
    path = importer.file("acme,ada,member")
    done = importer.run(path, "--rejects", str(path))
    assert (done.code, path.read_text(encoding="utf-8").count("ada")) == (2, 1)


# Files that are none.


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "missing columns: account_id, member_id, role"),
        (b"account_id,role\nacme,member\n", "missing columns: member_id"),
        (b"account_id,member_id,role,shoe\na,b,c,d\n", "unknown columns: 'shoe'"),
        (b"account_id,member_id,role,role\na,b,c,d\n", "repeated columns: role"),
        ("account_id\n".encode("utf-16"), "is UTF-16"),
        (b"account_id,member_id,role\n" + b"x" * 2_000_000, "is longer than"),
    ],
)
def test_a_file_that_is_none_of_members_is_refused_at_once(importer: Importer, content: bytes, told: str):
    done = importer.run(importer.written(content))
    assert (done.code, importer.count()) == (2, 0)
    assert told in done.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"account_id": "acme"}', "must contain an array of objects"),
        (b'[{"account_id": "acme", "member_id": "a", "role": "member"}, {"shoe', "is not valid JSON"),
        (b'[{"account_id": "acme", "member_id": "a", "role": "member", "shoe": 1}]', "object 1: unknown"),
        (b"", "must contain an array of objects"),
    ],
)
def test_json_that_is_none_of_members_is_refused_at_once(importer: Importer, content: bytes, told: str):
    done = importer.run(importer.written(content, "members.json"))
    assert (done.code, importer.count()) == (2, 0)
    assert told in done.err


# A dry run.


def test_a_dry_run_tells_each_account_and_writes_nothing(importer: Importer):
    importer.run(importer.file("acme,ada,member"))
    rows = ["acme,ada,member", "fresh,eve,admin", *(f"acme,member-{number},member" for number in range(6))]
    done = importer.run(importer.file(*rows), "--dry-run", "--create-accounts", "--names", "2")
    assert done.code == 1
    assert done.out.splitlines() == [
        "acme: 4 added, 0 updated, 1 unchanged, 2 rejected; seats full 1/5 -> full 5/5",
        "  + member-0 member",
        "  + member-1 member",
        "  + 2 more",
        "fresh: 1 added, 0 updated, 0 unchanged, 0 rejected; seats none -> full 1/5",
        "  + eve admin",
        "Nothing was written. An import would be: 5 added, 0 updated, 1 unchanged, 2 rejected.",
    ]
    assert importer.member_ids() == ["ada"]
    importer.check()


def test_a_dry_run_foretells_what_the_import_does(importer: Importer):
    path = importer.file(*(f"acme,member-{number},member" for number in range(8)), "acme,x,wizard")
    foretold, done = importer.run(path, "--dry-run"), importer.run(path)
    assert foretold.last_line.split(": ")[1] == done.last_line.split(": ")[1]
    assert foretold.err.splitlines()[-3:] == done.err.splitlines()[-3:]


# Killed, two at once, and people who claim meanwhile.


def many(rows: int, accounts: int) -> Iterable[str]:
    """Guests for many accounts, mixed; every hundredth has a role that nobody knows."""
    for number in range(rows):
        role = "wizard" if number % 100 == 50 else "client"
        yield f"account-{number % accounts:03},member-{number},{role}"


def test_killed_half_way_it_goes_on_where_it_was(importer: Importer):
    path = importer.file(*many(3000, 60), "account-000,,client")
    rejects = importer.folder / "rejects.csv"
    options = ("--create-accounts", "--batch", "50", "--rejects", str(rejects))
    first = importer.start(path, *options)
    wait_until(lambda: importer.count() >= 1000)
    first.kill()
    first.communicate()
    begun = importer.newest_import()
    assert 0 < begun.rows_done < 3000

    done = importer.run_process(path, *options)
    assert done.code == 1
    assert f"after {desk_rows(done)} of 3000 rows" in done.out
    assert done.last_line == "Imported: 2970 added, 0 updated, 0 unchanged, 31 rejected."
    assert (importer.count(), importer.newest_import().id) == (2970, begun.id)
    lines = [line.partition(",")[0] for line in rejects.read_text(encoding="utf-8").splitlines()[1:]]
    assert Counter(lines) == Counter([*(str(number) for number in range(52, 3002, 100)), "3002"])
    with importer.sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM audit WHERE member_id IS NOT NULL")) == 2970
    importer.check()


def test_interrupted_it_says_how_to_go_on(importer: Importer):
    path = importer.file(*many(3000, 60))
    process = importer.start(path, "--create-accounts", "--batch", "50")
    wait_until(lambda: importer.count() >= 200)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2, err
    assert "rows are imported. Run the same command again to continue." in err


def desk_rows(done: Done) -> str:
    return done.out.partition("import of this file after ")[2].partition(" ")[0]


def test_two_imports_of_one_file_are_not_carried_out_at_once(importer: Importer):
    path = importer.file("acme,ada,member")
    importer.run(path, "--dry-run")
    with importer.sessions() as session:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with exclusive_lock(session.get_bind(), digest):
            refused = importer.run_process(path)
    assert (refused.code, importer.count()) == (2, 0)
    assert "being imported by another process" in refused.err


def test_accounts_of_another_import_are_waited_for(importer: Importer):
    """Two files that touch the same accounts in opposite order end right, both."""
    importer.open_accounts(*(f"account-{number}" for number in range(10)))
    there = importer.file(*(f"account-{n % 10},a-{n},client" for n in range(300)), name="there.csv")
    back = importer.file(*(f"account-{9 - n % 10},b-{n},client" for n in range(300)), name="back.csv")
    running = [importer.start(path, "--batch", "300") for path in (there, back)]
    for process in running:
        process.communicate(timeout=PATIENCE_SECONDS)
    assert ([process.returncode for process in running], importer.count()) == ([0, 0], 600)
    with importer.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == 11


def test_whoever_claims_meanwhile_no_seat_is_sold_twice(importer: Importer):
    process = importer.start(
        importer.file(*(f"acme,imported-{number},member" for number in range(60))), "--batch", "2"
    )
    while process.poll() is None:
        importer.claim_and_release()
    process.communicate()
    with importer.sessions() as session:
        balances = session.scalars(select(AuditRow.after).where(AuditRow.member_id.is_not(None))).all()
    assert max(balance["seats"]["full"]["active"] for balance in balances) == 5
    importer.check()
