"""The provider's error format: a status, a stable code, a message."""

from __future__ import annotations


class Refusal(Exception):
    """A refused request, with one of the provider's documented error codes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    @classmethod
    def not_found(cls, message: str) -> Refusal:
        return cls(404, "NOT_FOUND", message)

    @classmethod
    def conflict(cls, code: str, message: str) -> Refusal:
        return cls(409, code, message)

    @classmethod
    def unprocessable(cls, code: str, message: str) -> Refusal:
        return cls(422, code, message)
