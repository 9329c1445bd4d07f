"""Ids in the provider's format: a prefix and 21 letters and digits. The same seed gives the same ids."""

from __future__ import annotations

import base64
import random
import threading

LENGTH = 21


class Ids:
    """Generates ids and secrets from a seeded random source."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        with self._lock:
            self._chance = random.Random(seed)

    def new(self, prefix: str) -> str:
        with self._lock:
            drawn = base64.b64encode(self._chance.randbytes(LENGTH), altchars=b"aZ").decode()
            return f"{prefix}_{drawn[:LENGTH]}"

    def secret(self) -> str:
        """A webhook secret: `whsec_` and 32 bytes in base64."""
        with self._lock:
            return f"whsec_{base64.b64encode(self._chance.randbytes(32)).decode()}"
