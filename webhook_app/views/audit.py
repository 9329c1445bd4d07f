"""The audit of one account, complete or between two times, as JSON or CSV."""

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
    summary="List every change of the account's seats, oldest first",
    description="Streamed. JSON: one document with one line per row. CSV: RFC 4180, UTF-8, with a header; a "
    "cell with an object contains JSON. A text cell that a spreadsheet might take for a formula, or that "
    "begins with an apostrophe, gets an apostrophe in front.",
    responses=responses(AuditDocument, *KEYED, 404),
)
@needs(Scope.READ)
def audit(path: AccountPath, query: AuditQuery) -> Response:
    pieces = export(
        app_context().runtime.sessions, path.account_id, query.format, since=query.since, until=query.until
    )
    return Response(pieces, mimetype=MIMETYPES[query.format])
