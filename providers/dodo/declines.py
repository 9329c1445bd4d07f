"""Declined payments: for each of Dodo Payments' failure codes, what happened and what to do, in words that a
customer may read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_OTHER_CARD: Final = "Use another card, or ask the bank."
_OTHER_METHOD: Final = "Use another payment method."
_CORRECT: Final = "Correct the card's details, or use another card."
_LATER: Final = "Try again later."
_AUTHENTICATE: Final = "Confirm the payment with the bank when it asks, or use another card."
_SUPPORT: Final = "Try again. If it happens again, contact support."


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a payment was declined, and what to do about it: one sentence each.

    `code` is the provider's code; None if there is none, or if the customer must not learn it.
    """

    sentence: str
    advice: str
    code: str | None = None

    def __str__(self) -> str:
        return f"{self.sentence} {self.advice}"


_DECLINED: Final = Decline("The card was declined.", _OTHER_CARD)

# The provider forbids to reveal these to a customer, since that could warn a thief (Dodo documentation,
# transaction failures).
_CONFIDENTIAL: Final = frozenset({"FRAUDULENT", "LOST_CARD", "PICKUP_CARD", "STOLEN_CARD"})

# The codes and their meaning: Dodo documentation, transaction failures.
DECLINES: Final[Mapping[str, tuple[str, str]]] = {
    "AUTHENTICATION_FAILURE": ("The bank could not confirm who is paying.", _AUTHENTICATE),
    "AUTHENTICATION_REQUIRED": ("The bank wants the payment to be confirmed.", _AUTHENTICATE),
    "AUTHENTICATION_TIMEOUT": ("The payment was not confirmed with the bank in time.", _AUTHENTICATE),
    "CARD_DECLINED": ("The bank declined the card.", _OTHER_CARD),
    "CARD_NOT_ACTIVATED": ("The card is not activated.", "Activate it with the bank, or use another card."),
    "CARD_VELOCITY_EXCEEDED": ("The card was used too often in a short time.", _LATER),
    "CUSTOMER_CANCELLED": ("The payment was cancelled by the customer.", "It can be made again at any time."),
    "DO_NOT_HONOR": ("The bank declined the payment without a reason.", _OTHER_CARD),
    "EXPIRED_CARD": ("The card has expired.", "Use a card that is still valid."),
    "FRAUDULENT": (_DECLINED.sentence, _DECLINED.advice),
    "GENERIC_DECLINE": ("The payment was declined without a reason.", _OTHER_CARD),
    "INCORRECT_CVC": ("The card's security code is wrong.", _CORRECT),
    "INCORRECT_NUMBER": ("The card's number is wrong.", _CORRECT),
    "INSUFFICIENT_FUNDS": (
        "There is not enough money in the account.",
        "Use another payment method, or try again once there is.",
    ),
    "INVALID_ACCOUNT": ("The account of the card is not valid.", _OTHER_CARD),
    "INVALID_AMOUNT": ("The amount is not allowed for this card.", _OTHER_CARD),
    "INVALID_CARD_NUMBER": ("The card's number is not valid.", _CORRECT),
    "INVALID_CARD_OWNER": ("The name on the card is not valid.", _CORRECT),
    "INVALID_CVC": ("The card's security code is not valid.", _CORRECT),
    "INVALID_EXPIRY_YEAR": ("The card's expiry date is not valid.", _CORRECT),
    "INVALID_PIN": ("The card's PIN is wrong.", _CORRECT),
    "INVALID_REQUEST": ("The payment's details are not valid.", _CORRECT),
    "INVALID_UPI_ID": ("The UPI id is not valid.", "Correct it, or use another payment method."),
    "LIMIT_EXCEEDED": ("The amount is above the limit of the card or account.", _OTHER_CARD),
    "LIVE_MODE_TEST_CARD": ("A test card cannot pay real amounts.", "Use a real card."),
    "LOST_CARD": (_DECLINED.sentence, _DECLINED.advice),
    "MANDATE_INVALID": (
        "The permission to charge the payment method is no longer valid.",
        "Add the payment method again, or use another one.",
    ),
    "MANDATE_REQUIRED": (
        "The bank wants a permission for repeated charges.",
        "Add the payment method again, or use another one.",
    ),
    "MANDATE_REQUIRED_SYSTEM": (
        "A permission for repeated charges is missing.",
        "Add the payment method again, or use another one.",
    ),
    "NETWORK_ERROR": ("The connection to the bank failed.", _LATER),
    "NETWORK_TIMEOUT": ("The bank did not answer in time.", _LATER),
    "ORDER_CREATION_FAILED": ("The payment could not be started.", _SUPPORT),
    "PAYMENT_METHOD_PROVIDER_DECLINED": ("The payment service declined the payment.", _OTHER_METHOD),
    "PAYMENT_METHOD_UNSUPPORTED": ("This payment method cannot be used for the payment.", _OTHER_METHOD),
    "PICKUP_CARD": (_DECLINED.sentence, _DECLINED.advice),
    "PROCESSING_ERROR": ("The payment could not be processed.", _SUPPORT),
    "PROVIDER_UNSUPPORTED": ("The payment service does not support this payment.", _OTHER_METHOD),
    "REENTER_TRANSACTION": ("The bank wants the payment to be made again.", "Try again."),
    "REVOCATION_OF_AUTHORIZATION": (
        "The permission to charge the payment method was withdrawn.",
        _OTHER_METHOD,
    ),
    "STOLEN_CARD": (_DECLINED.sentence, _DECLINED.advice),
    "TRANSACTION_NOT_ALLOWED": ("The card does not allow this kind of payment.", _OTHER_CARD),
    "TRANSACTION_NOT_APPROVED": ("The bank did not approve the payment.", _OTHER_CARD),
    "TRY_AGAIN_LATER": ("The bank cannot decide about the payment now.", _LATER),
    "UNKNOWN_ERROR": ("The payment failed for an unknown reason.", _SUPPORT),
}

_UNKNOWN: Final = ("The payment was declined.", "Use another payment method, or ask the bank.")


def decline(code: str | None) -> Decline:
    """Why a payment with this failure code was declined. The code may be unknown, or None."""
    sentence, advice = DECLINES.get(code or "", _UNKNOWN)
    return Decline(sentence, advice, None if code in _CONFIDENTIAL else code)
