from datetime import UTC, datetime, timedelta

import pytest

from domain.snapshot import SubscriptionStatus
from domain.statuses import DEFAULT_EFFECTS, Phase, StatusEffect, SubscriptionStanding, standing_of

SINCE = datetime(2026, 11, 1, 12, tzinfo=UTC)
GRACE = timedelta(days=7)
GRACE_ENDS = SINCE + GRACE
PROVIDER_ENDS = SINCE + timedelta(days=3)
MOMENT = timedelta(microseconds=1)


def standing(effect, now, provider_deadline=None, payment_grace=GRACE):
    return standing_of(
        effect, since=SINCE, now=now, payment_grace=payment_grace, provider_deadline=provider_deadline
    )


def test_every_status_the_provider_documents_has_an_effect():
    assert set(DEFAULT_EFFECTS) == set(SubscriptionStatus)


@pytest.mark.parametrize(
    ("effect", "phase", "counts"),
    [
        (StatusEffect.COUNTS, Phase.COUNTS, True),
        (StatusEffect.SUSPENDED, Phase.SUSPENDED, False),
        (StatusEffect.PENDING, Phase.NOT_YET, False),
        (StatusEffect.ENDED, Phase.ENDED, False),
    ],
)
@pytest.mark.parametrize("provider_deadline", [None, PROVIDER_ENDS])
def test_effects_without_grace_do_not_depend_on_time(effect, phase, counts, provider_deadline):
    at_first = standing(effect, SINCE, provider_deadline)
    assert at_first == standing(effect, SINCE + timedelta(days=999), provider_deadline)
    assert at_first == SubscriptionStanding(phase, None)
    assert at_first.counts == counts


@pytest.mark.parametrize(
    ("effect", "provider_deadline", "deadline"),
    [
        (StatusEffect.COUNTS_UNTIL_DEADLINE, None, GRACE_ENDS),
        (StatusEffect.COUNTS_UNTIL_DEADLINE, PROVIDER_ENDS, PROVIDER_ENDS),
        (StatusEffect.COUNTS_UNTIL_DEADLINE, GRACE_ENDS + GRACE, GRACE_ENDS + GRACE),
        (StatusEffect.COUNTS_FOR_GRACE, None, GRACE_ENDS),
        (StatusEffect.COUNTS_FOR_GRACE, PROVIDER_ENDS, GRACE_ENDS),
    ],
)
def test_grace_counts_up_to_its_deadline_and_is_suspended_from_then_on(effect, provider_deadline, deadline):
    for now in (SINCE, deadline - MOMENT):
        in_grace = standing(effect, now, provider_deadline)
        assert in_grace == SubscriptionStanding(Phase.GRACE, deadline)
        assert in_grace.counts
    for now in (deadline, deadline + GRACE):
        after = standing(effect, now, provider_deadline)
        assert after == SubscriptionStanding(Phase.SUSPENDED)
        assert not after.counts


def test_without_grace_a_failed_payment_suspends_at_once():
    assert standing(StatusEffect.COUNTS_FOR_GRACE, SINCE, payment_grace=timedelta(0)).phase is Phase.SUSPENDED
