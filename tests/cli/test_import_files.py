"""Files of members as spreadsheets, old programs and strangers write them."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from cli.main import cli
from cli.member_import.files import ImportRefused
from cli.member_import.staging import Staging

HEADER = "account_id,member_id,role"
ADA = "acme,ada,member"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Staging]:
    def read(content: str | bytes, name: str = "people.csv") -> Staging:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        stage = Staging()
        stage.load(path, lambda _done: None)
        return stage

    return read


def members(stage: Staging) -> Sequence[str]:
    return [staged.row.member_id for staged in stage.all()]


def rejects(stage: Staging) -> Sequence[str]:
    return [reject.reason for reject in stage.rejects()]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("header", [HEADER, "Account_ID,MEMBER_ID,Role", '"account id","Member ID"," ROLE "'])
def test_every_usual_way_to_write_a_table_is_read(read, end: str, delimiter: str, mark: str, header: str):
    lines = [header, ADA, 'acme,"bob",member', ",,", "", "acme,eve,member"]
    text = mark + end.join(line.replace(",", delimiter) for line in lines) + end
    stage = read(text)
    assert (len(members(stage)), rejects(stage)) == (3, [])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (f"{HEADER},", f"{ADA},"),
        (f"{HEADER},,", f"{ADA},,"),
        (f"{HEADER},", ADA),
        (HEADER, f"{ADA},,"),
        ("account_id,,member_id,role", "acme,,ada,member"),
        (f",{HEADER}", f",{ADA}"),
    ],
)
def test_columns_without_a_name_and_without_values_are_passed_over(read, header: str, row: str):
    stage = read(f"{header}\n{row}\n")
    assert (members(stage), rejects(stage)) == (["ada"], [])


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        (f"{HEADER},", f"{ADA},x", "has 4 cells where the header has 3"),
        ("account_id,,member_id,role", "acme,x,ada,member", "has a value in column 2, which has no name"),
    ],
)
def test_a_value_without_a_column_is_told(read, header: str, row: str, reason: str):
    assert rejects(read(f"{header}\n{row}\n")) == [reason]


@given(st.lists(st.sampled_from([",,", "", " , , ", ";;", ADA]), max_size=6))
def test_rows_of_nothing_are_no_rows(tmp_path_factory: pytest.TempPathFactory, lines: list[str]):
    path = tmp_path_factory.mktemp("files") / "people.csv"
    path.write_text("\n".join([HEADER, *(line for line in lines if line != ";;")]), encoding="utf-8")
    stage = Staging()
    stage.load(path, lambda _done: None)
    assert (members(stage), rejects(stage)) == (["ada"] if ADA in lines else [], [])


@pytest.mark.parametrize(
    "row", ['acme,"ada"x,member', 'acme,"ada,member', "acme,a\rda,member", f"acme,{'a' * 9000},x"]
)
def test_a_row_that_is_no_csv_is_told_in_our_words(read, row: str):
    (reason,) = rejects(read(f"{HEADER}\n{row}"))
    assert not [
        word for word in ("newline=", "unquoted", "unexpected", "field", "expected after") if word in reason
    ]


def an_object(**values: object) -> dict[str, object]:
    return {"account_id": "acme", "member_id": "ada", "role": "member", **values}


@pytest.mark.parametrize("column", ["account_id", "member_id", "role", "email", "name"])
@pytest.mark.parametrize("text", ["\\ud800", "\\udc00x", "a\\ud800b", "\\udc00\\ud800"])
def test_half_of_a_surrogate_pair_is_no_text(read, column: str, text: str):
    content = json.dumps([an_object(**{column: "HERE"})]).replace("HERE", text)
    stage = read(content, "people.json")
    assert (members(stage), rejects(stage)) == ([], [f"{column} is not UTF-8 text"])


def test_a_whole_surrogate_pair_is_a_character(read):
    stage = read(json.dumps([an_object(name="\U0001f600")]), "people.json")
    assert [staged.row.name for staged in stage.all()] == ["\U0001f600"]


@pytest.mark.parametrize("opening", ["[", '[{"account_id":', '[{"account_id":{"a":', '[[{"a":['])
def test_a_file_nested_without_end_is_refused_at_once(read, opening: str):
    with pytest.raises(ImportRefused, match="is nested deeper than 16 levels"):
        read(opening * 100_000, "people.json")


@pytest.mark.parametrize("tail", [" x", ",", "", ' {"a": nan}', "]]"])
def test_json_that_breaks_off_names_the_last_good_object(read, tail: str):
    with pytest.raises(ImportRefused, match="is not valid JSON after object 1"):
        read(json.dumps([an_object()])[:-1] + ("]" if tail in (" x", "]]") else "") + tail, "people.json")


# Rejects.

Run = Callable[..., Result]


@pytest.fixture
def run(environment: dict[str, str], engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(file: str, *more: str) -> Result:
        command = ["import", "members", file, "--create-accounts", "--rejects", "bad.csv", *more]
        return CliRunner(env=environment).invoke(cli, command, catch_exceptions=False)

    return run


def table(path: str) -> list[list[str]]:
    with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_rejects_carry_the_rows_as_they_were_given(run: Run, options: tuple[str, ...]):
    rows = ['acme,,member,"Lovelace, Ada"', "acme,bob,wizard,Bob", "acme,eve,member", "acme,\udcff,member,"]
    text = "\n".join([f"{HEADER},Name", *rows, "acme,ok,client,Ok"])
    Path("people.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert run("people.csv", *options).exit_code == 1
    header, *bad = table("bad.csv")
    assert header == ["line", "reason", "account_id", "member_id", "role", "name"]
    assert [[line, *cells] for line, _reason, *cells in bad] == [
        ["2", "acme", "", "member", "Lovelace, Ada"],
        ["3", "acme", "bob", "wizard", "Bob"],
        ["4", "acme", "eve", "member", ""],
        ["5", "acme", "\udcff", "member", ""],
    ]


def test_a_file_of_rejects_can_be_corrected_and_imported(run: Run):
    Path("people.csv").write_text(f"{HEADER},name\nacme,ada,wizard,Ada\nacme,,client,Bob\n", encoding="utf-8")
    assert run("people.csv").exit_code == 1
    mended = (
        Path("bad.csv")
        .read_text(encoding="utf-8")
        .replace("wizard,", "client,")
        .replace("acme,,", "acme,bob,")
    )
    Path("mended.csv").write_text(mended, encoding="utf-8")
    done = run("mended.csv")
    assert (done.exit_code, "2 added" in done.stdout) == (0, True), done.output


def test_rejects_of_json_have_every_column(run: Run):
    Path("people.json").write_text(json.dumps([an_object(role=7, hold=True), 5]), encoding="utf-8")
    run("people.json")
    header, first, second = table("bad.csv")
    assert dict(zip(header, first, strict=True))["role"] == "7"
    assert (dict(zip(header, first, strict=True))["hold"], second[1]) == ("true", "is not an object")


def test_rejects_are_for_our_eyes_only(run: Run):
    Path("people.csv").write_text(f"{HEADER}\nacme,,member\n", encoding="utf-8")
    run("people.csv")
    assert stat.S_IMODE(Path("bad.csv").stat().st_mode) == 0o600
