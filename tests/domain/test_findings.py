import pytest

from domain import findings
from domain.findings import Finding, FindingKind

CHECK_KEYS = (
    "check that DODO_PAYMENTS_API_KEY and DODO_PAYMENTS_ENVIRONMENT belong to the business and "
    "mode that send the webhooks."
)


@pytest.mark.parametrize(
    ("was_there", "trouble"),
    [
        (True, "The provider no longer knows this subscription, so its last good count stays"),
        (False, "The provider does not know this subscription, so it gives no seats"),
    ],
)
def test_a_subscription_the_provider_does_not_know(was_there, trouble):
    message = f"{trouble}: {CHECK_KEYS}"
    expected = Finding(FindingKind.NOT_AT_PROVIDER, "subscription_id", "sub_1", message)
    assert findings.not_at_provider("sub_1", was_there=was_there) == expected


def test_deliveries_of_another_business_name_it():
    found = findings.other_business("bus_2")
    assert (found.kind, found.field, found.value) == (FindingKind.OTHER_BUSINESS, "business_id", "bus_2")
    assert found.message.startswith("Deliveries of business 'bus_2' arrive here and are ignored: check")
