"""Base URLs of Dodo Payments by mode, in their own file so that the settings import no HTTP library."""

from __future__ import annotations

from typing import Final

# Dodo documentation, API introduction.
BASE_URLS: Final = {
    "test_mode": "https://test.dodopayments.com",
    "live_mode": "https://live.dodopayments.com",
}
