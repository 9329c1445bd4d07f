"""What events say of money."""

from __future__ import annotations

import orjson
import pytest

from providers.base import PaymentKind, PaymentReport
from providers.dodo.declines import decline
from providers.dodo.provider import build
from tests.conftest import SECRET

OURS = {"seatsync_change_id": "chg_1"}


@pytest.fixture
def reader():
    return build(base_url="http://127.0.0.1:9", api_key="key", secrets=[SECRET])


def read(reader, event_type: str, **data):
    return reader.read(orjson.dumps({"type": event_type, "data": {"subscription_id": "sub_1", **data}}))


@pytest.mark.parametrize(
    ("event_type", "data", "payment"),
    [
        (
            "payment.failed",
            {"metadata": OURS, "error_code": "CARD_DECLINED"},
            PaymentReport(PaymentKind.FAILED, "chg_1", "CARD_DECLINED", str(decline("CARD_DECLINED"))),
        ),
        (
            "payment.failed",
            {"metadata": OURS},
            PaymentReport(PaymentKind.FAILED, "chg_1", None, str(decline(None))),
        ),
        (
            "payment.cancelled",
            {"metadata": OURS},
            PaymentReport(
                PaymentKind.FAILED, "chg_1", "CUSTOMER_CANCELLED", str(decline("CUSTOMER_CANCELLED"))
            ),
        ),
        ("payment.succeeded", {"metadata": OURS}, PaymentReport(PaymentKind.PAID, "chg_1")),
        ("subscription.renewed", {}, PaymentReport(PaymentKind.PAID)),
        ("subscription.update_payment_method", {}, PaymentReport(PaymentKind.METHOD_REPLACED)),
        ("payment.processing", {"metadata": OURS}, None),
        ("payment.failed", {"metadata": {}}, None),
        ("subscription.updated", {"metadata": OURS}, None),
        ("refund.succeeded", {"metadata": OURS}, None),
    ],
)
def test_the_payment_that_an_event_reports(
    reader, event_type: str, data: dict, payment: PaymentReport | None
):
    assert read(reader, event_type, **data).payment == payment


def test_a_payment_of_a_change_of_ours_asks_for_a_sync_and_describes_no_subscription(reader):
    said = read(reader, "payment.failed", metadata=OURS, status="failed", product_id="pdt_1", quantity=1)
    assert (said.concerns_seats, said.snapshot, said.unreadable) == (True, None, None)


def test_a_payment_that_names_no_one_subscription_concerns_no_seats(reader):
    said = read(reader, "payment.failed", metadata=OURS, subscription_id=None)
    assert (said.concerns_seats, said.unreadable) == (False, None)


@pytest.mark.parametrize(
    ("listed", "found"),
    [(["sub_2"], "sub_2"), (["sub_2", "sub_3"], None), ([], None), ("sub_2", None), ([7], None)],
)
def test_a_payment_may_name_its_subscription_in_a_list(reader, listed: object, found: str | None):
    said = read(reader, "payment.failed", metadata=OURS, subscription_id=None, subscription_ids=listed)
    assert (said.subscription_id, said.concerns_seats, said.unreadable) == (found, found is not None, None)
