"""Request bodies: the raw bytes, up to a limit."""

from __future__ import annotations

from typing import Final

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

MOST_BYTES: Final = 1024 * 1024


def raw_body() -> bytes:
    """The bytes as they were sent; 413 if there are more than `MOST_BYTES`.

    Flask refuses by `Content-Length`; a body in chunks, which has none, it cuts off at the limit.
    """
    body = request.get_data()
    is_cut_off = (
        len(body) == MOST_BYTES
        and not request.content_length
        and request.environ["wsgi.input"].read(1) != b""
    )
    if is_cut_off:
        raise RequestEntityTooLarge
    return body
