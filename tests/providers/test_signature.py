import logging
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from domain.errors import SettingsError
from domain.provider_errors import InvalidSignature
from providers.base import Delivery
from providers.signature import Verifier, parse_secret

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
OLD = "whsec_" + b64encode(b"o" * 24).decode()
NOW = datetime(2026, 11, 22, 8, 0, 0, tzinfo=UTC)
BODY = b'{"type":"subscription.active","data":{}}'


def sign(body=BODY, *, secret=SECRET, event_id="msg_1", at=NOW):
    """The headers of the reference library, which needs the body as text."""
    return Webhook(secret).sign(msg_id=event_id, timestamp=at, data=body.decode())


def headers(*, event_id="msg_1", at=NOW, signature=None, body=BODY):
    signature = sign(body, event_id=event_id, at=at) if signature is None else signature
    return [
        ("Content-Type", "application/json"),
        ("Webhook-Id", event_id),
        ("webhook-timestamp", str(int(at.timestamp()))),
        ("WEBHOOK-SIGNATURE", signature),
    ]


def replaced(name, value):
    return [(key, value if key.lower() == name else old) for key, old in headers()]


def verify(given, body=BODY, *, secrets=(SECRET,), now=NOW, **tolerance):
    return Verifier(secrets, **tolerance).verify(given, body, now)


def test_an_authentic_delivery_is_returned_with_what_was_signed():
    assert verify(headers()) == Delivery("msg_1", BODY)


def test_the_example_of_the_reference_library_verifies():
    signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    at = datetime.fromtimestamp(1614265330, UTC)
    given = headers(event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=at, signature=signature)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert verify(given, b'{"test": 2432232314}', secrets=[secret], now=at).event_id == (
        "msg_p5jXN8AQM9LWM0D4loKWxJek"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (headers()[1:2], "missing header"),
        ([], "missing header"),
        ([*headers(), ("webhook-id", "msg_1")], "repeated header"),
        ([*headers(), ("Webhook-Signature", "")], "repeated header"),
        (replaced("webhook-id", ""), "malformed id"),
        (replaced("webhook-id", "msg.1"), "malformed id"),
        (replaced("webhook-id", "msg_1,msg_1"), "malformed id"),
        (replaced("webhook-id", "msg_1\n"), "malformed id"),
        (replaced("webhook-id", "m" * 129), "malformed id"),
        (replaced("webhook-id", "müll"), "malformed id"),
        (replaced("webhook-timestamp", ""), "malformed timestamp"),
        (replaced("webhook-timestamp", " 123 "), "malformed timestamp"),
        (replaced("webhook-timestamp", "123.9"), "malformed timestamp"),
        (replaced("webhook-timestamp", "1_23"), "malformed timestamp"),
        (replaced("webhook-timestamp", "-1"), "malformed timestamp"),
        (replaced("webhook-timestamp", "1" * 12), "malformed timestamp"),
        (replaced("webhook-timestamp", "١٢٣"), "malformed timestamp"),
        (replaced("webhook-timestamp", "0"), "too old"),
        (replaced("webhook-timestamp", "9" * 11), "from the future"),
        (replaced("webhook-id", "msg_2"), "no signature matches"),
        (replaced("webhook-signature", ""), "no signature matches"),
        (replaced("webhook-signature", "v1"), "no signature matches"),
        (replaced("webhook-signature", "v1,"), "no signature matches"),
        (replaced("webhook-signature", "v1,a,b"), "no signature matches"),
        (replaced("webhook-signature", "v1,ü"), "no signature matches"),
        (replaced("webhook-signature", "v1,\ud800"), "no signature matches"),
        (replaced("webhook-signature", sign().replace("v1,", "v1a,")), "no signature matches"),
        (replaced("webhook-signature", sign().replace("v1,", "v2,")), "no signature matches"),
        (replaced("webhook-signature", sign().removesuffix("=")), "no signature matches"),
        (replaced("webhook-signature", sign().replace("v1,", "v1,!")), "no signature matches"),
        (replaced("webhook-signature", sign(secret=OLD)), "no signature matches"),
        (replaced("webhook-signature", "v1,AAAA " * 16 + sign()), "no signature matches"),
        (replaced("webhook-signature", sign() + "=" * 200), "no signature matches"),
    ],
)
def test_a_delivery_is_refused_with_a_reason(change, reason):
    with pytest.raises(InvalidSignature) as refusal:
        verify(change)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("body", [BODY + b" ", BODY[:-1], b"", b"\xff\xfe"])
def test_a_changed_body_is_refused(body):
    with pytest.raises(InvalidSignature):
        verify(headers(), body)


def test_the_body_need_not_be_text():
    key = parse_secret(SECRET)
    body = b"\xff\x00"
    import hmac  # noqa: PLC0415 - only here a signature is made by hand

    mac = hmac.digest(key, b"msg_1.%d.%b" % (int(NOW.timestamp()), body), "sha256")
    assert verify(headers(signature="v1," + b64encode(mac).decode()), body).body == body


@pytest.mark.parametrize("others", ["v1a,abc {}", "{} v1,AAAA", "v1,= {}", "  {}", "v1 {}", "{} v9,{}"])
def test_signatures_that_say_nothing_are_skipped(others):
    assert verify(replaced("webhook-signature", others.format(sign(), "x")))


@pytest.mark.parametrize(("seconds", "is_fresh"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_delivery_is_fresh_for_five_minutes_both_ways(seconds, is_fresh):
    now = NOW + timedelta(seconds=seconds)
    if is_fresh:
        assert verify(headers(), now=now)
    else:
        with pytest.raises(InvalidSignature):
            verify(headers(), now=now)


@pytest.mark.parametrize(("seconds", "reason"), [(11, "too old"), (-2, "from the future")])
def test_the_tolerance_can_be_set_for_each_direction(seconds, reason):
    tolerance = {"max_age": timedelta(seconds=10), "max_lead": timedelta(seconds=1)}
    with pytest.raises(InvalidSignature) as refusal:
        verify(headers(), now=NOW + timedelta(seconds=seconds), **tolerance)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("secrets", [[SECRET, OLD], [OLD, SECRET]])
def test_while_secrets_rotate_either_one_vouches(secrets):
    assert verify(headers(), secrets=secrets).body == BODY


def test_a_delivery_signed_with_the_newest_secret_as_well_is_no_warning(caplog):
    both = replaced("webhook-signature", f"{sign(secret=OLD)} {sign()}")
    with caplog.at_level(logging.WARNING):
        verify(both, secrets=[SECRET, OLD])
    assert not caplog.records


def test_an_old_secret_is_warned_of_once_and_never_shown(caplog):
    verifier = Verifier([OLD, SECRET])
    with caplog.at_level(logging.WARNING):
        verifier.verify(headers(), BODY, NOW)
        verifier.verify(headers(), BODY, NOW)
    assert [record.secret_position for record in caplog.records] == [1]
    assert SECRET[8:] not in caplog.text


@pytest.mark.parametrize("length", [24, 25, 32, 64])
def test_a_secret_is_read_with_and_without_prefix_and_padding(length):
    key = bytes(range(length))
    encoded = b64encode(key).decode()
    for text in (encoded, f"whsec_{encoded}", f"whsec_{encoded.rstrip('=')}"):
        assert parse_secret(text) == key


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "abc",
        "whsec_" + "A" * 28,
        "whsec_" + "A" * 88,
        SECRET + " ",
        "whsec_ü" + SECRET,
        "whsk_" + SECRET,
    ],
)
def test_an_unusable_secret_is_refused_without_showing_it(secret):
    with pytest.raises(SettingsError) as refusal:
        Verifier([SECRET, secret])
    assert SECRET[6:20] not in refusal.value.message


def test_no_secret_is_refused():
    with pytest.raises(SettingsError):
        Verifier([])


ids = st.from_regex(r"\A[A-Za-z0-9_-]{1,128}\Z")
keys = st.binary(min_size=24, max_size=64)


@settings(max_examples=200, deadline=None)
@given(key=keys, event_id=ids, body=st.text(max_size=300), age=st.integers(-300, 300))
def test_what_the_reference_library_signs_is_authentic(key, event_id, body, age):
    secret = "whsec_" + b64encode(key).decode()
    at = NOW - timedelta(seconds=age)
    data = body.encode(errors="surrogatepass") if body.isascii() else body.encode("utf-8", "ignore")
    given_headers = headers(
        event_id=event_id, at=at, signature=sign(data, secret=secret, event_id=event_id, at=at)
    )
    assert verify(given_headers, data, secrets=[secret]).event_id == event_id


texts = st.text(max_size=40) | st.sampled_from(["msg_1", str(int(NOW.timestamp())), sign(), "v1,", " ", ","])
names = st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "Webhook-Id"]) | st.text(
    max_size=5
)


@settings(max_examples=400, deadline=None)
@given(given_headers=st.lists(st.tuples(names, texts), max_size=6), body=st.binary(max_size=100))
def test_whatever_comes_in_there_is_a_delivery_or_a_refusal(given_headers, body):
    try:
        verify(given_headers, body)
    except InvalidSignature:
        return
    raise AssertionError("nobody signed this")


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 42), letter=st.characters(codec="latin-1"))
def test_a_signature_with_one_letter_changed_is_refused_unless_it_means_the_same(position, letter):
    signature = sign()[3:]
    changed = signature[:position] + letter + signature[position + 1 :]
    try:
        means_the_same = b64decode(changed, validate=True) == b64decode(signature)
    except ValueError:
        means_the_same = False
    try:
        verify(headers(signature=f"v1,{changed}"))
        assert means_the_same
    except InvalidSignature:
        assert not means_the_same
