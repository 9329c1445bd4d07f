"""Explains every seat figure: its sum, the sources of the sum, recent changes, and who is counted."""

from __future__ import annotations

from flask import Response

from models.api_key import Scope
from services.reports.explanation_document import _MOST_LISTED, document
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.responses import KEYED, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.audit import Explained, ExplainQuery
from webhook_app.schemas.common import AccountPath

explain_api = Routes("explain", tag="Audit")


@explain_api.get(
    "/v1/accounts/<account_id>/explain",
    summary="Explain the account's seat figures",
    description="For each figure of the seats document: its sum, the source of each term, the changes that "
    "led to it, and who is counted or not, with reasons. At most "
    f"{_MOST_LISTED} changes and members are listed.",
    responses=responses(Explained, *KEYED, 404),
)
@needs(Scope.READ)
def explain(path: AccountPath, query: ExplainQuery) -> Response:
    return json_response(document(app_context().runtime, path.account_id, since=query.since))
