"""The audit of one account, whole or between two times, for people and for files."""

from __future__ import annotations

from flask import Response

from models.api_key import Scope
from services.reports.audit_export import MIMETYPES, export
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.responses import KEYED, responses
from webhook_app.routes import Routes
from webhook_app.schemas.audit import AuditDocument, AuditQuery
from webhook_app.schemas.common import AccountPath

audit_api = Routes("audit", tag="Audit")


@audit_api.get(
    "/v1/accounts/<account_id>/audit",
    summary="Every change of the account's seats, oldest first",
    description="Streamed. As JSON one document with a line for each row. As CSV (RFC 4180, UTF-8) with a "
    "header; objects are JSON in their cell, and a text cell that a spreadsheet might take for a formula, or "
    "that begins with an apostrophe, has an apostrophe in front.",
    responses=responses(AuditDocument, *KEYED, 404),
)
@needs(Scope.READ)
def audit(path: AccountPath, query: AuditQuery) -> Response:
    pieces = export(
        app_context().runtime.sessions, path.account_id, query.format, since=query.since, until=query.until
    )
    return Response(pieces, mimetype=MIMETYPES[query.format])
