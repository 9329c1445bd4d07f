"""Keeps an encoded slash in a request path apart from a separator, so that an id may contain a slash.

A WSGI server decodes the path before the app sees it (PEP 3333), after which `a%2Fb` and `a/b` are the same.
So the path is read from the request line, which gunicorn passes as `RAW_URI` and other servers as
`REQUEST_URI`.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Response
from werkzeug.routing import UnicodeConverter, ValidationError

from domain.ids import path_segment
from webhook_app import problems
from webhook_app.percent_encoding import has_lone_percent

_WITH_IDS: Final = "/v1/"


class SentPath:
    """WSGI middleware that leaves the segments of `PATH_INFO` percent-encoded, in a canonical form.

    `Segment` decodes them one by one. A request below /v1/ is refused with 501 if the server passes neither
    variable. A path is refused with 400 if it contains a percent sign that begins no escape, or bytes that
    are not UTF-8.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sent = environ.get("RAW_URI") or environ.get("REQUEST_URI")
        if environ["PATH_INFO"].startswith("//"):  # the router would drop the first slash
            return problems.not_found()(environ, start_response)
        if not sent:
            if environ["PATH_INFO"].startswith(_WITH_IDS):
                return _not_passed()(environ, start_response)
        elif "%" in sent.partition("?")[0]:
            path = _sent_path(sent, environ)
            if path is None:
                return _differs()(environ, start_response)
            if not _is_well_formed(path):
                return _malformed()(environ, start_response)
            environ["PATH_INFO"] = "/".join(
                path_segment(unquote_to_bytes(segment)) for segment in path.split("/")
            )
        return self._app(environ, start_response)


class Segment(UnicodeConverter):
    """URL converter: one decoded segment of a path. A segment that is not UTF-8 matches no route."""

    def to_python(self, value: str) -> str:
        """Decode the segment."""
        try:
            return unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise ValidationError from None


def _sent_path(sent: str, environ: WSGIEnvironment) -> str | None:
    """The encoded path below SCRIPT_NAME; None if it differs from the path that the server decoded."""
    try:
        path = sent.partition("?")[0] if sent.startswith("/") else urlsplit(sent).path
    except ValueError:
        return None
    for prefix in (environ.get("SCRIPT_NAME", ""), ""):
        below = path.removeprefix(prefix)
        if _decoded(below) == environ["PATH_INFO"]:
            return below
    return None


def _is_well_formed(path: str) -> bool:
    """True if each percent sign begins an escape, and each segment is UTF-8."""
    if has_lone_percent(path):
        return False
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(path: str) -> str:
    """The path in the form of PEP 3333: each byte is one character."""
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def _not_passed() -> Response:
    return problems.response(
        HTTPStatus.NOT_IMPLEMENTED,
        "path_not_passed",
        "The web server does not pass the path as it was sent, so an encoded slash in an id cannot be "
        "distinguished from a separator. Run the service under gunicorn, or under another server that sets "
        "RAW_URI or REQUEST_URI.",
    )


def _malformed() -> Response:
    return problems.response(
        HTTPStatus.BAD_REQUEST,
        "path_unreadable",
        "The path is not percent-encoded UTF-8. Percent-encode each id in it; a percent sign is %25.",
    )


def _differs() -> Response:
    return problems.response(
        HTTPStatus.BAD_REQUEST,
        "path_unreadable",
        "The path differs from the one that the web server passed on. Percent-encode each id in it.",
    )
