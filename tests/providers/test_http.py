import gzip
import multiprocessing
import socket
import time
from datetime import timedelta
from email.utils import formatdate

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.provider_errors import BudgetSpent, KeyRefused, OutcomeUnknown, PermanentError, TransientError
from providers.base import Priority
from providers.http import InvalidPathSegment
from providers.rate_limit.budget import Budget, parse_rate
from tests.providers.conftest import client_of
from tests.providers.stub import closed_port, reply

KEY = "key-that-nobody-may-see"


def get(client, *segments, **query):
    return client.get(*(segments or ["things"]), priority=Priority.WEBHOOK, query=query)


def failure(client):
    with pytest.raises((TransientError, PermanentError)) as raised:
        get(client)
    assert KEY not in str(raised.value) + repr(raised.value.__cause__)
    return raised.value


def test_a_json_object_is_returned(client, stub):
    stub.replies = [reply(body={"a": 1})]
    assert get(client) == {"a": 1}


def test_a_request_carries_the_key_and_no_more_than_needed(client, stub):
    stub.replies = [reply(body={}, Set_Cookie="a=b; Path=/")]
    get(client)
    get(client)
    assert stub.requests[0] == stub.requests[1]
    lines = stub.requests[0].splitlines()
    assert {f"Authorization: Bearer {KEY}", "Accept-Encoding: gzip"} <= set(lines)
    assert not client._own_session().cookies
    assert {line.split(":")[0] for line in lines[1:] if line} == {
        "Host", "User-Agent", "Accept", "Accept-Encoding", "Authorization"
    }  # fmt: skip


def test_a_connection_is_kept(client, stub):
    stub.replies = [reply(404, {"code": "NOT_FOUND"}), reply(body={})]
    failure(client)
    get(client)
    assert stub.connections == 1


def test_a_compressed_answer_is_read(client, stub):
    stub.replies = [reply(body=gzip.compress(b'{"a":1}'), Content_Encoding="gzip")]
    assert get(client) == {"a": 1}


@pytest.mark.parametrize(
    ("segment", "path"),
    [
        ("sub_1", "/things/sub_1"),
        ("../x", "/things/..%2Fx"),
        ("a/b", "/things/a%2Fb"),
        ("a?b=c#d", "/things/a%3Fb%3Dc%23d"),
        ("%2e%2e", "/things/%252e%252e"),
        ("...", "/things/..."),
        ("a b", "/things/a%20b"),
        ("ü", "/things/%C3%BC"),
        ("\\..\\x", "/things/%5C..%5Cx"),
        ("@host", "/things/%40host"),
    ],
)
def test_an_id_stays_in_its_place(client, stub, segment, path):
    stub.replies = [reply(body={})]
    get(client, "things", segment)
    assert stub.paths == [path]


@pytest.mark.parametrize("segment", ["", ".", "..", "a\nb", "a\0", "\x7f", "a" * 201, "\ud800"])
def test_an_id_that_names_nothing_is_not_sent(client, stub, segment):
    with pytest.raises(InvalidPathSegment):
        get(client, "things", segment)
    assert stub.requests == []


def test_the_base_url_may_have_a_path(stub):
    client = client_of(f"{stub.url}/api/")
    stub.replies = [reply(body={})]
    get(client, "a", b="2026-11-22T08:00:00Z")
    client.close()
    assert stub.paths == ["/api/a?b=2026-11-22T08%3A00%3A00Z"]


@pytest.mark.parametrize("status", [400, 405, 409, 410, 413, 418, 422])
def test_a_client_error_is_permanent_and_names_the_code(client, stub, status):
    stub.replies = [reply(status, {"code": "SOME_CODE", "message": "who@example.com"})]
    error = failure(client)
    assert isinstance(error, PermanentError)
    assert error.details == {"status": status, "provider_code": "SOME_CODE"}
    assert "SOME_CODE" in error.message
    assert "who@" not in error.message


@pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_transient(client, stub, status):
    stub.replies = [reply(status, {"code": "SOME_CODE"})]
    error = failure(client)
    assert isinstance(error, TransientError)
    assert f"{status} SOME_CODE" in error.message


FOREIGN_BODIES = (
    b"",
    b"<html>403 Forbidden</html>",
    b'{"code": "TRUNC',
    {"message": "Not Found"},
    {"code": "who@example.com"},
    {"code": "403"},
    {"code": 1020},
    {"code": None},
    {"error": {"code": "NOT_FOUND"}},
    ["NOT_FOUND"],
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    status=st.integers(300, 599),
    body=st.sampled_from(FOREIGN_BODIES),
    content_type=st.sampled_from(["", "text/html", "text/plain", "application/json", "application/xml"]),
)
def test_an_answer_without_the_providers_own_code_is_an_outage(client, stub, status, body, content_type):
    stub.replies = [reply(status, body, **({"Content_Type": content_type} if content_type else {}))]
    client._budget = Budget(parse_rate("1000/second"))  # after a 429 nothing more would be sent
    error = failure(client)
    assert isinstance(error, TransientError)
    assert not isinstance(error, KeyRefused)
    assert "who@" not in error.message


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422])
def test_a_write_answered_without_the_providers_own_code_may_have_been_made(client, stub, status):
    stub.replies = [reply(status, b"<html>")]
    with pytest.raises(OutcomeUnknown):
        client.write("POST", "things", priority=Priority.INTERACTIVE, body={})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_its_body_is_bounded(client, stub, status):
    stub.replies = [reply(status, b"x" * 3_000_000, Location=f"{stub.url}/elsewhere")]
    assert isinstance(failure(client), TransientError)
    assert stub.paths == ["/things"]


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry_After": "30"}, 30),
        (503, {"Retry_After": "30"}, 30),
        (429, {"X_RateLimit_Reset": "20"}, 20),
        (429, {"Retry_After": "30", "X_RateLimit_Reset": "20"}, 30),
        (429, {"Retry_After": "soon"}, None),
        (429, {"Date": formatdate(5e9, usegmt=True), "Retry_After": formatdate(5e9 + 40, usegmt=True)}, 40),
        (500, {"X_RateLimit_Reset": "20"}, None),
        (500, {}, None),
    ],
)
def test_the_wait_the_provider_asks_for_is_passed_on(client, stub, status, headers, seconds):
    stub.replies = [reply(status, **headers)]
    assert failure(client).retry_after == seconds


def test_after_a_429_nothing_is_sent_until_the_wait_is_over(client, stub):
    stub.replies = [reply(429, Retry_After="30")]
    failure(client)
    with pytest.raises(BudgetSpent):
        client.get("things", priority=Priority.INTERACTIVE)
    assert len(stub.requests) == 1


def test_a_low_remainder_holds_back_the_less_urgent(client, stub):
    stub.replies = [
        reply(body={}, X_RateLimit_Limit="240", X_RateLimit_Remaining="20", X_RateLimit_Reset="50")
    ]
    get(client)
    with pytest.raises(BudgetSpent):
        client.get("things", priority=Priority.RECONCILE)
    assert client.get("things", priority=Priority.INTERACTIVE) == {}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"a"', b"null", b'{"a":NaN}', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"],
    ids=range(9),
)
def test_an_answer_that_is_no_json_object_is_transient(client, stub, body):
    stub.replies = [reply(body=body)]
    assert isinstance(failure(client), TransientError)


def drip(before, letters, pause):
    def send(connection):
        connection.sendall(before)
        for letter in letters:
            time.sleep(pause)
            connection.sendall(letter)

    return send


SLOW = {
    "silent": drip(b"", [b""], 4),
    "silent after the head": drip(reply(body={})[:-2], [b"{}"], 4),
    "slow body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", [b" "] * 99, 0.05),
    "slow chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", [b"1\r\n \r\n"] * 99, 0.05),
    "slow body to the end of the connection": drip(b"HTTP/1.1 200 OK\r\n\r\n", [b" "] * 99, 0.05),
    "slow head": drip(b"HTTP/1.1 200 OK\r\n", [b"X-A: b\r\n"] * 99, 0.05),
    "slow status line": drip(b"", [b"H"] * 99, 0.05),
    "slow error": drip(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\n", [b" "] * 99, 0.05),
}


@pytest.mark.parametrize("slow", SLOW)
def test_a_slow_answer_is_cut_at_the_deadline_however_it_dribbles(hasty, stub, slow):
    stub.replies = [SLOW[slow]]
    started = time.monotonic()
    assert isinstance(failure(hasty), TransientError)
    assert 0.2 < time.monotonic() - started < 2


def test_each_answer_has_the_whole_time_to_itself(stub):
    client = client_of(stub.url, answer_seconds=1)

    def late(connection):
        for _ in range(3):  # on one connection
            time.sleep(0.4)
            connection.sendall(reply(body={}))
            connection.recv(65536)

    stub.replies = [late]
    assert [get(client) for _ in range(3)] == [{}] * 3
    assert stub.connections == 1
    client.close()


BROKEN = {
    "closed at once": b"",
    "no HTTP": b"hello\r\n\r\n",
    "cut in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut in the body": reply(body={"a": 1})[:-1],
    "cut in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
    "bad chunk length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n{}\r\n0\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "bad gzip": reply(body=b"{}", Content_Encoding="gzip"),
    "long line": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_answer_is_transient(client, stub, broken):
    stub.replies = [lambda connection: connection.sendall(BROKEN[broken])]
    assert isinstance(failure(client), TransientError)


@pytest.mark.parametrize("length", [2 * 1024 * 1024 + 1, 50_000_000])
def test_a_huge_answer_is_cut(client, stub, length):
    stub.replies = [reply(body=b"[" + b" " * length)]
    assert "more than" in failure(client).message


def test_a_huge_answer_that_came_packed_is_cut(client, stub):
    stub.replies = [reply(body=gzip.compress(b" " * 50_000_000), Content_Encoding="gzip")]
    assert "more than" in failure(client).message


def test_an_answer_of_two_mebibytes_is_read(client, stub):
    body = orjson.dumps({"a": "x" * (2 * 1024 * 1024 - 8)})
    stub.replies = [reply(body=body)]
    assert len(body) == 2 * 1024 * 1024
    assert len(get(client)) == 1


def test_nothing_is_tried_twice(client, stub):
    stub.replies = [reply(500)]
    failure(client)
    stub.replies = [lambda connection: None]
    failure(client)
    assert len(stub.requests) == 2


def test_a_refused_connection_is_transient():
    client = client_of(f"http://127.0.0.1:{closed_port()}")
    assert isinstance(failure(client), TransientError)
    client.close()


def test_an_unreachable_host_is_transient_within_the_connect_timeout():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        client = client_of(f"http://127.0.0.1:{full.getsockname()[1]}", connect_seconds=0.3)
        started = time.monotonic()
        assert isinstance(failure(client), TransientError)
        assert time.monotonic() - started < 2
        for one in waiting:
            one.close()


def test_proxies_and_netrc_of_the_environment_are_left_alone(client, stub, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stub.replies = [reply(body={})]
    assert get(client) == {}


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_the_providers_clock_is_compared_with_ours(client, stub, seconds):
    assert client.clock_skew is None
    stub.replies = [reply(body={}, Date=formatdate(time.time() + seconds, usegmt=True))]
    get(client)
    assert abs(client.clock_skew - timedelta(seconds=seconds)) <= timedelta(seconds=2)


def in_child(client, results):
    results.put(get(client))


def test_a_forked_child_opens_a_connection_of_its_own(client, stub):
    stub.replies = [reply(body={"a": 1})]
    get(client)
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=in_child, args=(client, results))
    child.start()
    assert results.get(timeout=10) == {"a": 1}
    child.join()
    assert get(client) == {"a": 1}
    assert stub.connections == 2


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(noise=st.binary(max_size=80), at=st.integers(0, 90))
def test_whatever_comes_back_there_is_an_object_or_an_error_of_ours(client, stub, noise, at):
    sound = reply(body={"a": 1}, Content_Type="application/json", Retry_After="1")
    stub.replies = [lambda connection: connection.sendall(sound[:at] + noise + sound[at:])]
    try:
        assert isinstance(get(client), dict)
    except (TransientError, PermanentError):
        return
