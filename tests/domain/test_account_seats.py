from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog.model import Catalog, Contract
from domain.counts import NO_SEATS, AccountSeats, Seats, SubscriptionShare, account_seats
from domain.seat_limit import UNLIMITED
from domain.statuses import Phase, Standing, SubscriptionStanding
from tests.domain.few_examples import few_examples

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SOON, LATER = NOW + timedelta(days=2), NOW + timedelta(days=9)
FREE = Catalog(free={"full": 1})


def share(phase, full=0, until=None, **addons):
    seats = {"full": Seats(full), **{seat_type: Seats(0, units) for seat_type, units in addons.items()}}
    return SubscriptionShare(seats, SubscriptionStanding(phase, until))


def contract(full, starts=None, ends=None, account="acme"):
    return Contract(name="c", account_id=account, seats={"full": full}, starts=starts, ends=ends)


def with_contract(sold, free=None):
    return Catalog(contracts={"c": sold}, free=free)


COUNTS, SUSPENDED, ENDED, NOT_YET = (
    share(phase, 10) for phase in (Phase.COUNTS, Phase.SUSPENDED, Phase.ENDED, Phase.NOT_YET)
)
GRACE = share(Phase.GRACE, 10, SOON)
RUNNING = contract(50, date(2026, 1, 1), date(2026, 12, 31))
OVER = contract(50, date(2025, 1, 1), date(2025, 12, 31))
COMING = contract(50, date(2027, 1, 1))


@pytest.mark.parametrize(
    ("catalog", "shares", "full", "standing"),
    [
        pytest.param(FREE, [COUNTS], Seats(10), Standing.OK, id="one counts, nothing is free"),
        pytest.param(FREE, [COUNTS, COUNTS], Seats(20), Standing.OK, id="two add up"),
        pytest.param(FREE, [COUNTS, GRACE], Seats(20), Standing.GRACE, id="grace counts in full"),
        pytest.param(
            FREE, [COUNTS, SUSPENDED], Seats(10), Standing.OK, id="suspended beside one that counts"
        ),
        pytest.param(FREE, [COUNTS, ENDED, NOT_YET], Seats(10), Standing.OK, id="ended, not begun beside"),
        pytest.param(FREE, [SUSPENDED], Seats(10), Standing.SUSPENDED, id="suspended keeps its figures"),
        pytest.param(FREE, [SUSPENDED] * 2, Seats(20), Standing.SUSPENDED, id="two suspended"),
        pytest.param(
            FREE, [SUSPENDED, ENDED, NOT_YET], Seats(10), Standing.SUSPENDED, id="suspended is alive"
        ),
        pytest.param(FREE, [], Seats(1), Standing.OK, id="free without a subscription"),
        pytest.param(FREE, [ENDED], Seats(1), Standing.OK, id="free after the last one"),
        pytest.param(FREE, [NOT_YET], Seats(1), Standing.OK, id="free before the first one"),
        pytest.param(Catalog(), [], NO_SEATS, Standing.OK, id="never anything"),
        pytest.param(Catalog(), [NOT_YET], NO_SEATS, Standing.OK, id="not begun"),
        pytest.param(Catalog(), [ENDED], NO_SEATS, Standing.ENDED, id="ended"),
        pytest.param(Catalog(), [ENDED, NOT_YET], NO_SEATS, Standing.ENDED, id="ended, the next not begun"),
        pytest.param(with_contract(RUNNING), [], Seats(contract=50), Standing.OK, id="a contract"),
        pytest.param(with_contract(RUNNING), [COUNTS], Seats(10, 0, 50), Standing.OK, id="a contract beside"),
        pytest.param(
            with_contract(RUNNING), [GRACE], Seats(10, 0, 50), Standing.GRACE, id="a contract and grace"
        ),
        pytest.param(
            with_contract(RUNNING), [SUSPENDED], Seats(contract=50), Standing.OK, id="a contract counts"
        ),
        pytest.param(
            with_contract(RUNNING), [ENDED], Seats(contract=50), Standing.OK, id="a contract remains"
        ),
        pytest.param(
            with_contract(RUNNING, {"full": 1}), [], Seats(contract=50), Standing.OK, id="not free too"
        ),
        pytest.param(with_contract(OVER), [], NO_SEATS, Standing.ENDED, id="a contract that is over"),
        pytest.param(with_contract(OVER, {"full": 1}), [], Seats(1), Standing.OK, id="free after a contract"),
        pytest.param(with_contract(COMING), [], NO_SEATS, Standing.OK, id="a contract to come"),
        pytest.param(
            with_contract(contract(UNLIMITED)), [COUNTS], Seats(10, 0, UNLIMITED), Standing.OK, id="unlimited"
        ),
        pytest.param(with_contract(contract(50, account="b")), [], NO_SEATS, Standing.OK, id="another's"),
    ],
)
def test_the_seats_of_an_account_by_its_subscriptions_contract_and_free_seats(
    catalog, shares, full, standing
):
    account = account_seats(catalog, "acme", shares, now=NOW)
    assert (account.of("full"), account.standing) == (full, standing)


def test_seat_types_are_counted_separately():
    account = account_seats(
        FREE, "acme", [share(Phase.COUNTS, 5, viewer=3), share(Phase.COUNTS, 2, guest=4)], now=NOW
    )
    assert account.seats == {"full": Seats(7), "viewer": Seats(0, 3), "guest": Seats(0, 4)}


def test_a_type_that_only_ended_subscriptions_sold_is_listed_with_no_seats():
    account = account_seats(Catalog(), "acme", [share(Phase.ENDED, 5, viewer=3)], now=NOW)
    assert account.seats == {"full": NO_SEATS, "viewer": NO_SEATS}


def test_a_type_that_nothing_gives_has_no_seats():
    assert AccountSeats({}, Standing.OK).of("full") == NO_SEATS


def test_the_deadline_is_the_earliest():
    account = account_seats(FREE, "acme", [share(Phase.GRACE, 1, LATER), GRACE, COUNTS], now=NOW)
    assert (account.deadline, account.changes_at) == (SOON, SOON)


@pytest.mark.parametrize(
    ("sold", "changes_at"),
    [
        (contract(1), None),
        (RUNNING, datetime(2027, 1, 1, tzinfo=UTC)),
        (COMING, datetime(2027, 1, 1, tzinfo=UTC)),
        (contract(1, date(2026, 7, 1), date(2026, 7, 2)), datetime(2026, 7, 1, tzinfo=UTC)),
        (OVER, None),
    ],
)
def test_a_contract_changes_the_figures_at_its_start_and_end(sold, changes_at):
    account = account_seats(with_contract(sold), "acme", [COUNTS], now=NOW)
    assert (account.deadline, account.changes_at) == (None, changes_at)


def test_a_deadline_before_the_contract_ends_changes_the_figures_first():
    account = account_seats(with_contract(RUNNING), "acme", [GRACE], now=NOW)
    assert account.changes_at == SOON


PHASES = st.sampled_from(Phase)


@st.composite
def shares(draw):
    phase = draw(PHASES)
    until = NOW + timedelta(hours=draw(st.integers(1, 99))) if phase is Phase.GRACE else None
    return share(phase, draw(st.integers(0, 9)), until, viewer=draw(st.integers(0, 9)))


@few_examples
@given(st.lists(shares(), max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_subscriptions_is_irrelevant(some, random):
    catalog = with_contract(RUNNING)
    shuffled = random.sample(some, len(some))
    assert account_seats(catalog, "acme", shuffled, now=NOW) == account_seats(catalog, "acme", some, now=NOW)


@few_examples
@given(st.lists(shares(), max_size=5))
def test_subscriptions_that_count_give_all_their_seats(some):
    counting = [each.seats["full"].purchased for each in some if each.standing.counts]
    account = account_seats(FREE, "acme", some, now=NOW)
    if counting:
        assert account.of("full").purchased == sum(counting)
        assert account.standing is (Standing.OK if account.deadline is None else Standing.GRACE)


@few_examples
@given(st.lists(shares(), max_size=5))
def test_an_account_is_never_ended_while_a_subscription_may_come_back(some):
    alive = {Phase.COUNTS, Phase.GRACE, Phase.SUSPENDED}
    if account_seats(Catalog(), "acme", some, now=NOW).standing is Standing.ENDED:
        assert not alive & {each.standing.phase for each in some}
