"""Notify: what is in the outbox reaches the app, signed, at least once, whatever the receiver does."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from standardwebhooks import WebhookVerificationError

from domain import findings
from domain.errors import NotResendable
from domain.notices import Notice, NoticeType
from models import drift_finding, notice, notice_endpoint
from models.database import connect, session_factory
from models.notice import NoticeDelivery, PendingDelivery, StoredNotice
from models.notice_endpoint import Endpoint
from runtime.wiring import Runtime
from services.ledger import accounts
from services.notices import attempt
from services.notices import delivery as delivering
from services.notices.delivery import LEASE, PAUSES, backoff, notify
from tests.factories import a_cause
from tests.receiver import Receiver, endless, hanging, redirecting
from tests.services.sync.test_subscription import everything
from tests.waiting import wait_until
from worker import housekeeping
from worker.celery_app import SeatSync
from worker.sweep import Sweep
from worker.tasks import send_notices


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def runtime(runtime: Runtime) -> Runtime:
    """Receivers on this machine are allowed."""
    return with_settings(runtime, notices_allow_private=True)


def with_settings(runtime: Runtime, **changes: Any) -> Runtime:
    values = {name: getattr(runtime, name) for name in Runtime.__slots__}
    return Runtime(**{**values, "settings": runtime.settings.model_copy(update=changes)})


@dataclass(frozen=True)
class Registered:
    id: str
    secret: str


def registered(runtime: Runtime, url: str, *types: NoticeType) -> Registered:
    with runtime.sessions.begin() as session:
        found = notice_endpoint.register(session, url, types or None)
        return Registered(found.id, found.secrets[0])


def add_notice(
    runtime: Runtime, *types: NoticeType, account_id: str | None = None, once: str | None = None
) -> None:
    notices = [
        Notice(wanted, {"seat_type": "full", "available": 0}, once)
        for wanted in types or (NoticeType.BLOCKED,)
    ]
    with runtime.sessions.begin() as session:
        notice.add(session, account_id, notices)


def execute(runtime: Runtime, statement: str) -> None:
    with runtime.sessions.begin() as session:
        session.execute(text(statement))


def time_passes(runtime: Runtime) -> None:
    """Every pause is over."""
    execute(runtime, "UPDATE notice_deliveries SET next_at = now() - interval '1 s'")
    execute(runtime, "UPDATE notice_endpoints SET busy_until = NULL")


def delivery(runtime: Runtime) -> NoticeDelivery:
    (found,) = everything(runtime, NoticeDelivery)
    return found


def stored_notice(runtime: Runtime) -> StoredNotice:
    (found,) = everything(runtime, StoredNotice)
    return found


def states(runtime: Runtime) -> list[str]:
    return [found.state for found in sorted(everything(runtime, NoticeDelivery), key=lambda one: one.id)]


# What arrives.


def test_a_notice_arrives_signed_and_says_what_happened(runtime: Runtime, receiver: Receiver):
    to = registered(runtime, receiver.url)
    with runtime.sessions.begin() as session:
        accounts.open_account(session, "acme", runtime.catalog, a_cause())
    add_notice(runtime, NoticeType.LIMIT_REACHED, account_id="acme")
    notify(runtime)
    (arrived,) = receiver.arrived
    told = arrived.verified(to.secret)
    assert (told["type"], told["data"]) == (
        "seat.limit_reached",
        {"account_id": "acme", "seat_type": "full", "available": 0},
    )
    assert told["timestamp"].endswith("Z")
    assert arrived.message_id == stored_notice(runtime).message_id
    assert states(runtime) == ["delivered"]


def test_what_is_delivered_is_not_sent_again(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    add_notice(runtime)
    notify(runtime)
    time_passes(runtime)
    assert notify(runtime) == 0
    assert len(receiver.arrived) == 1


def test_a_foreign_secret_does_not_verify(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    other = registered(runtime, "http://other.example/")
    add_notice(runtime, NoticeType.BLOCKED)
    execute(runtime, f"DELETE FROM notice_endpoints WHERE id = '{other.id}'")
    notify(runtime)
    with pytest.raises(WebhookVerificationError):
        receiver.arrived[0].verified(other.secret)


def test_notices_arrive_in_their_order(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    wanted = [NoticeType.GRACE_STARTED, NoticeType.GRACE_ENDING, NoticeType.BLOCKED, NoticeType.RESTORED]
    for one in wanted:
        add_notice(runtime, one)
    notify(runtime)
    assert [arrived.json["type"] for arrived in receiver.arrived] == wanted


def test_an_endpoint_gets_only_what_it_wants(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url, NoticeType.BLOCKED)
    add_notice(runtime, NoticeType.LIMIT_REACHED, NoticeType.BLOCKED)
    notify(runtime)
    assert [arrived.json["type"] for arrived in receiver.arrived] == ["seat.blocked"]


def test_every_endpoint_gets_it(runtime: Runtime, receiver: Receiver):
    with Receiver() as other:
        registered(runtime, receiver.url)
        registered(runtime, other.url)
        add_notice(runtime)
        assert notify(runtime) == 2
        assert receiver.arrived[0].message_id == other.arrived[0].message_id


def test_an_endpoint_gets_no_notices_from_before_its_registration(runtime: Runtime, receiver: Receiver):
    add_notice(runtime)
    registered(runtime, receiver.url)
    assert notify(runtime) == 0


def test_a_rolled_back_notice_is_not_sent(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    with runtime.sessions() as session:
        notice.add(session, None, [Notice(NoticeType.BLOCKED)])
        session.rollback()
    assert notify(runtime) == 0


def test_a_notice_is_sent_once_per_occasion(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    for deadline in ("monday", "monday", "friday"):
        add_notice(runtime, NoticeType.GRACE_ENDING, once=deadline)
    add_notice(runtime, NoticeType.CONTRACT_ENDING, once="monday")
    notify(runtime)
    assert [arrived.json["type"] for arrived in receiver.arrived] == [
        "seat.grace_ending",
        "seat.grace_ending",
        "contract.ending",
    ]


def test_a_new_finding_is_announced_once(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    for _ in range(2):
        with runtime.sessions.begin() as session:
            drift_finding.record(session, "sub_1", [findings.unknown_status("melted")])
    notify(runtime)
    (arrived,) = receiver.arrived
    assert arrived.json["type"] == "drift.found"
    assert arrived.json["data"]["subject"] == "sub_1"
    assert arrived.json["data"].keys() == {"subject", "kind", "field", "likely_cause", "message"}


def test_a_finding_that_comes_back_is_announced_again(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    for found in ([findings.unknown_status("melted")], [], [findings.unknown_status("melted")]):
        with runtime.sessions.begin() as session:
            drift_finding.update_findings(session, "sub_1", found)
    assert notify(runtime) == 2


# Rotation.


def test_after_a_rotation_both_secrets_verify_for_a_day(runtime: Runtime, receiver: Receiver):
    old = registered(runtime, receiver.url)
    with runtime.sessions.begin() as session:
        new = notice_endpoint.rotate(session, old.id).secrets[0]
    add_notice(runtime)
    notify(runtime)
    (arrived,) = receiver.arrived
    assert arrived.headers["webhook-signature"].count("v1,") == 2
    assert arrived.verified(new) == arrived.verified(old.secret)


def test_a_day_after_a_rotation_the_old_secret_no_longer_signs(runtime: Runtime, receiver: Receiver):
    old = registered(runtime, receiver.url)
    with runtime.sessions.begin() as session:
        new = notice_endpoint.rotate(session, old.id).secrets[0]
    execute(runtime, "UPDATE notice_endpoints SET rotated_at = now() - interval '25 hours'")
    add_notice(runtime)
    notify(runtime)
    receiver.arrived[0].verified(new)
    with pytest.raises(WebhookVerificationError):
        receiver.arrived[0].verified(old.secret)


def test_a_second_rotation_drops_expired_secrets(runtime: Runtime):
    first = registered(runtime, "http://receiver.example/")
    with runtime.sessions.begin() as session:
        notice_endpoint.rotate(session, first.id)
    execute(runtime, "UPDATE notice_endpoints SET rotated_at = now() - interval '25 hours'")
    with runtime.sessions.begin() as session:
        kept = notice_endpoint.rotate(session, first.id).secrets
    assert len(kept) == 2
    assert first.secret not in kept


def test_with_many_rotations_each_old_secret_signs_for_a_day(runtime: Runtime, receiver: Receiver):
    first = registered(runtime, receiver.url)
    secrets = [first.secret, *(rotated(runtime, first.id) for _ in range(5))]
    add_notice(runtime)
    notify(runtime)
    (arrived,) = receiver.arrived
    assert arrived.headers["webhook-signature"].count("v1,") == len(secrets)
    assert all(arrived.verified(secret) for secret in secrets)


def test_of_several_rotations_each_secret_ends_a_day_after_its_own(runtime: Runtime, receiver: Receiver):
    first = registered(runtime, receiver.url)
    secrets = [first.secret]
    for _ in range(3):
        secrets.append(rotated(runtime, first.id))
        execute(
            runtime,
            "UPDATE notice_endpoints SET rotated_at = rotated_at - interval '10 hours', earlier_rotations = "
            "ARRAY(SELECT at - interval '10 hours' FROM unnest(earlier_rotations) AS at)",
        )
    add_notice(runtime)
    notify(runtime)
    (arrived,) = receiver.arrived
    assert arrived.headers["webhook-signature"].count("v1,") == 3
    assert arrived.verified(secrets[1])
    with pytest.raises(WebhookVerificationError):
        arrived.verified(secrets[0])
    rotated(runtime, first.id)
    assert len(everything(runtime, Endpoint)[0].secrets) == 4


def rotated(runtime: Runtime, endpoint_id: str) -> str:
    """The new secret."""
    with runtime.sessions.begin() as session:
        return notice_endpoint.rotate(session, endpoint_id).secrets[0]


# What a receiver may do.


def test_a_failure_is_tried_again_with_the_same_id_and_body(runtime: Runtime, receiver: Receiver):
    to = registered(runtime, receiver.url)
    receiver.answers = [500]
    add_notice(runtime)
    notify(runtime)
    assert (delivery(runtime).state, delivery(runtime).last_error) == ("pending", "answered 500")
    assert notify(runtime) == 0
    time_passes(runtime)
    notify(runtime)
    first, second = receiver.arrived
    assert (first.message_id, first.body) == (second.message_id, second.body)
    second.verified(to.secret)
    assert states(runtime) == ["delivered"]


def test_pauses_grow_to_about_a_day_in_all():
    assert timedelta(hours=22) < timedelta(seconds=sum(PAUSES)) < timedelta(hours=28)
    for number, pause in enumerate(PAUSES, start=1):
        assert 0.8 * pause <= backoff(number).total_seconds() <= 1.2 * pause


def test_a_notice_that_is_always_refused_becomes_a_dead_letter_with_its_reason(
    runtime: Runtime, receiver: Receiver
):
    registered(runtime, receiver.url)
    receiver.answers = [503] * 20
    add_notice(runtime)
    for _ in range(len(PAUSES) + 3):
        time_passes(runtime)
        notify(runtime)
    assert len(receiver.arrived) == len(PAUSES) + 1
    assert delivery(runtime).state == "dead"
    assert delivery(runtime).last_error == "gave up after 9 attempts: answered 503"


def test_a_dead_letter_can_be_resent_under_its_old_id(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    receiver.answers = [500]
    add_notice(runtime)
    notify(runtime)
    execute(runtime, "UPDATE notice_deliveries SET state = 'dead', attempts = 9")
    with runtime.sessions.begin() as session:
        assert notice.resend(session, stored_notice(runtime).id) == 1
    notify(runtime)
    assert len({arrived.message_id for arrived in receiver.arrived}) == 1
    assert (delivery(runtime).state, delivery(runtime).attempts) == ("delivered", 1)


def test_a_notice_nobody_wants_cannot_be_resent(runtime: Runtime):
    add_notice(runtime)
    with pytest.raises(NotResendable), runtime.sessions.begin() as session:
        notice.resend(session, stored_notice(runtime).id)


def test_an_endpoint_that_is_gone_is_disabled_with_all_that_waits_for_it(
    runtime: Runtime, receiver: Receiver
):
    registered(runtime, receiver.url)
    receiver.answers = [410]
    add_notice(runtime)
    add_notice(runtime)
    notify(runtime)
    add_notice(runtime)
    time_passes(runtime)
    notify(runtime)
    assert len(receiver.arrived) == 1
    assert states(runtime) == ["dead", "dead"]
    assert "410" in everything(runtime, NoticeDelivery)[0].last_error


def test_a_redirect_is_not_followed(runtime: Runtime, receiver: Receiver):
    with Receiver() as elsewhere:
        registered(runtime, receiver.url)
        receiver.answers = [redirecting(elsewhere.url)]
        add_notice(runtime)
        notify(runtime)
        assert elsewhere.arrived == []
    assert delivery(runtime).last_error == "answered 307"


def test_an_endless_answer_is_not_read_to_its_end(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    receiver.answers = [endless]
    add_notice(runtime)
    notify(runtime)
    assert states(runtime) == ["delivered"]


def test_an_unreachable_receiver_is_retried(runtime: Runtime):
    registered(runtime, "http://127.0.0.1:9/")
    add_notice(runtime)
    notify(runtime)
    assert delivery(runtime).last_error == "no answer: ConnectionError"


def test_a_hung_receiver_costs_one_timeout_and_delays_no_other(
    runtime: Runtime, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attempt, "_ANSWER_SECONDS", 0.3)
    with Receiver(answers=[hanging(3)] * 9) as hung:
        registered(runtime, hung.url)
        registered(runtime, receiver.url)
        for _ in range(5):
            add_notice(runtime)
        started = time.monotonic()
        notify(runtime)
        notify(runtime)
        assert time.monotonic() - started < 2
        assert (len(hung.arrived), len(receiver.arrived)) == (1, 5)


def test_a_slow_receiver_leaves_most_of_the_time_to_others(
    runtime: Runtime, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivering, "_SLOW_SECONDS", 0.02)
    monkeypatch.setattr(delivering, "_RUN_SECONDS", 0.1)
    registered(runtime, receiver.url)
    receiver.answers = [slow_success] * 20
    for _ in range(20):
        add_notice(runtime)
    assert notify(runtime) > 0
    assert notify(runtime) == 0


def test_a_delivery_that_was_not_tried_counts_no_attempt(
    runtime: Runtime, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attempt, "_ANSWER_SECONDS", 0.1)
    registered(runtime, receiver.url)
    receiver.answers = [hanging(1)]
    add_notice(runtime)
    add_notice(runtime)
    notify(runtime)
    assert sorted(found.attempts for found in everything(runtime, NoticeDelivery)) == [0, 1]


def test_a_run_ends_in_time_and_leaves_the_rest_due(
    runtime: Runtime, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivering, "_RUN_SECONDS", 0.25)
    registered(runtime, receiver.url)
    receiver.answers = [slow_success] * 20
    for _ in range(20):
        add_notice(runtime)
    tried = notify(runtime)
    assert 0 < tried < 20
    monkeypatch.setattr(delivering, "_RUN_SECONDS", 30)
    assert tried + notify(runtime) == 20
    assert {found.attempts for found in everything(runtime, NoticeDelivery)} == {1}


def slow_success(request: Any) -> None:
    time.sleep(0.05)
    request.send_response(200)
    request.send_header("Content-Length", "0")
    request.end_headers()


def test_a_name_that_resolves_to_a_private_address_by_now_gets_nothing(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url.replace("http://", "https://"))
    add_notice(runtime)
    notify(with_settings(runtime, notices_allow_private=False))
    assert receiver.arrived == []
    assert delivery(runtime).last_error.startswith("The URL leads to an address that is not public.")


# Several workers, and workers that die.


def test_two_workers_never_send_the_same_notice(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    receiver.answers = [slow_success] * 12
    for _ in range(12):
        add_notice(runtime)
    workers = [threading.Thread(target=notify, args=[runtime]) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ids = [arrived.message_id for arrived in receiver.arrived]
    assert len(ids) == len(set(ids)) == 12


def test_endpoints_that_hang_keep_one_worker_busy_at_most(
    runtime: Runtime, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """The others stay free for syncs, and the next run sends what the first one left."""
    monkeypatch.setattr(attempt, "_ANSWER_SECONDS", 0.5)
    with Receiver(answers=[hanging(3)]) as hung, ThreadPoolExecutor() as pool:
        registered(runtime, hung.url)
        add_notice(runtime)
        first = pool.submit(notify, runtime)
        wait_until(lambda: hung.arrived)
        registered(runtime, receiver.url)
        add_notice(runtime)
        assert notify(runtime) == 0
        assert (receiver.arrived, first.done()) == ([], False)
        assert first.result() == 2
    add_notice(runtime)
    assert notify(runtime) == 1


def test_a_worker_that_is_killed_while_it_sends_stops_no_other(runtime: Runtime, receiver: Receiver):
    with Receiver(answers=[hanging(9)]) as hung:
        registered(runtime, hung.url)
        add_notice(runtime)
        worker = FORK.Process(target=notify_elsewhere, args=[runtime])
        worker.start()
        wait_until(lambda: hung.arrived)
        worker.kill()
        worker.join()
    registered(runtime, receiver.url)
    add_notice(runtime)
    wait_until(lambda: notify(runtime))
    assert len(receiver.arrived) == 1


def test_a_worker_that_froze_while_it_sends_does_not_stop_others_for_ever(
    runtime: Runtime, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivering, "_FROZEN_AFTER", timedelta(seconds=0.3))
    monkeypatch.setattr(attempt, "_ANSWER_SECONDS", 3)
    with Receiver(answers=[hanging(9)]) as hung, ThreadPoolExecutor() as pool:
        registered(runtime, hung.url, NoticeType.BLOCKED)
        add_notice(runtime)
        first = pool.submit(notify, runtime)
        wait_until(lambda: hung.arrived)
        registered(runtime, receiver.url)
        add_notice(runtime, NoticeType.RESTORED)
        wait_until(lambda: notify(runtime))
        assert (len(receiver.arrived), first.done()) == (1, False)
        assert first.result() == 1


FORK = multiprocessing.get_context("fork")


def notify_elsewhere(runtime: Runtime) -> None:
    """What another process does: with connections of its own."""
    engine = connect(str(runtime.settings.database_url))
    notify(replace(runtime, engine=engine, sessions=session_factory(engine)))


def test_a_leased_delivery_is_not_sent_by_others_until_its_lease_ends(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    add_notice(runtime)
    leased(runtime)
    assert notify(runtime) == 0
    time_passes(runtime)
    assert notify(runtime) == 1
    assert delivery(runtime).attempts == 2


def test_a_worker_that_dies_after_sending_leads_to_a_repeat_with_the_same_id(
    runtime: Runtime, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    registered(runtime, receiver.url)
    add_notice(runtime)
    with monkeypatch.context() as patch:
        patch.setattr(delivering, "_store_result", die)
        with pytest.raises(KeyboardInterrupt):
            notify(runtime)
    assert notify(runtime) == 0
    time_passes(runtime)
    notify(runtime)
    first, second = receiver.arrived
    assert first.message_id == second.message_id
    assert states(runtime) == ["delivered"]


def leased(runtime: Runtime) -> Sequence[PendingDelivery]:
    """A worker leases what is due, and dies."""
    with runtime.sessions.begin() as session:
        to = notice_endpoint.lease_next(session, lease=LEASE)
        return notice.lease_due(session, to.endpoint_id, limit=9, lease=LEASE)


def test_two_workers_that_lease_at_once_do_not_wait_for_each_other(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    add_notice(runtime)
    with runtime.sessions.begin() as first, runtime.sessions.begin() as second:
        assert notice_endpoint.lease_next(first, lease=LEASE) is not None
        assert notice_endpoint.lease_next(second, lease=LEASE) is None


def test_a_leased_delivery_is_not_due_though_its_endpoint_is_free(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    add_notice(runtime)
    leased(runtime)
    execute(runtime, "UPDATE notice_endpoints SET busy_until = NULL")
    assert notify(runtime) == 0


def test_a_worker_that_lost_its_lease_writes_nothing(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    add_notice(runtime)
    (stale,) = leased(runtime)
    time_passes(runtime)
    (fresh,) = leased(runtime)
    with runtime.sessions.begin() as session:
        assert not notice.mark_dead(session, stale, "late")
        assert notice.delivered(session, fresh)
    assert states(runtime) == ["delivered"]


def test_an_endpoint_may_be_deleted_while_it_is_written_to(runtime: Runtime, receiver: Receiver):
    to = registered(runtime, receiver.url)
    with runtime.sessions.begin() as session:
        notice.add(session, None, [Notice(NoticeType.BLOCKED)])
        deletion = threading.Thread(target=removed, args=[runtime, to.id])
        deletion.start()
        time.sleep(0.1)
    deletion.join()
    assert states(runtime) == []


def test_a_notice_written_while_an_endpoint_is_deleted_does_not_fail(runtime: Runtime, receiver: Receiver):
    to = registered(runtime, receiver.url)
    with ThreadPoolExecutor() as pool:
        with runtime.sessions.begin() as session:
            notice_endpoint.remove(session, to.id)
            saying = pool.submit(add_notice, runtime)
            time.sleep(0.1)
        saying.result()
    assert (stored_notice(runtime).type, states(runtime)) == ("seat.blocked", [])


def removed(runtime: Runtime, endpoint_id: str) -> None:
    with runtime.sessions.begin() as session:
        notice_endpoint.remove(session, endpoint_id)


# The sweep, and housekeeping.


def wake_ups_of_a_sweep(runtime: Runtime) -> list[str]:
    woken: list[str] = []
    Sweep(runtime, lambda _: None, lambda: woken.append("notify")).once()
    return woken


def test_the_sweep_wakes_a_worker_once_if_a_notice_is_due(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    assert wake_ups_of_a_sweep(runtime) == []
    add_notice(runtime)
    add_notice(runtime)
    assert wake_ups_of_a_sweep(runtime) == ["notify"]


def test_the_sweep_wakes_nobody_for_a_notice_in_its_backoff(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    receiver.answers = [500]
    add_notice(runtime)
    notify(runtime)
    assert wake_ups_of_a_sweep(runtime) == []


def test_the_wake_up_is_the_task_that_sends_notices(runtime: Runtime):
    app = SeatSync(runtime.settings)
    app.wake_notices()
    prefix = app.conf.broker_transport_options["global_keyprefix"]
    (task,) = runtime.redis.lrange(prefix + app.amqp.queues["slow"].name, 0, -1)
    assert json.loads(task)["headers"]["task"] == "seatsync.notify"
    assert send_notices.name == "seatsync.notify"


def test_a_broker_that_is_away_does_not_end_the_sweep(runtime: Runtime, receiver: Receiver):
    def fail() -> None:
        raise ConnectionError

    registered(runtime, receiver.url)
    add_notice(runtime)
    Sweep(runtime, lambda _: None, fail).once()
    assert states(runtime) == ["pending"]


def test_housekeeping_forgets_old_notices_but_no_dead_letters(runtime: Runtime, receiver: Receiver):
    registered(runtime, receiver.url)
    receiver.answers = [204, 500]
    add_notice(runtime, NoticeType.BLOCKED)
    add_notice(runtime, NoticeType.RESTORED)
    notify(runtime)
    execute(runtime, "UPDATE notice_deliveries SET state = 'dead' WHERE state = 'pending'")
    execute(runtime, "UPDATE notices SET created_at = now() - interval '31 days'")
    housekeeping.housekeep(runtime)
    assert stored_notice(runtime).type == "seat.restored"


def test_an_occasion_is_remembered_until_it_is_over(runtime: Runtime, receiver: Receiver):
    """A contract may be announced long before its end, longer than other notices are kept."""
    registered(runtime, receiver.url)
    for _ in range(2):
        add_notice(runtime, NoticeType.CONTRACT_ENDING, once="new year's eve")
        notify(runtime)
        execute(runtime, "UPDATE notices SET created_at = now() - interval '399 days'")
        housekeeping.housekeep(runtime)
    assert len(receiver.arrived) == 1


def test_an_occasion_that_is_over_is_forgotten(runtime: Runtime):
    add_notice(runtime, NoticeType.CONTRACT_ENDING, once="new year's eve")
    execute(runtime, "UPDATE notices SET created_at = now() - interval '401 days'")
    housekeeping.housekeep(runtime)
    assert everything(runtime, StoredNotice) == []
