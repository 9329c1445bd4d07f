"""Every figure explained: the sum behind it, what gave each summand, what moved it, and who is counted."""

from __future__ import annotations

from flask import Response

from models.api_key import Scope
from services.reports.explanation_document import _MOST_LISTED, document
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.responses import KEYED, answer, responses
from webhook_app.routes import Routes
from webhook_app.schemas.audit import Explained, ExplainQuery
from webhook_app.schemas.common import AccountPath

explain_api = Routes("explain", tag="Audit")


@explain_api.get(
    "/v1/accounts/<account_id>/explain",
    summary="Why the account's figures are what they are",
    description="The figures of the seats document, with the sum behind each, what gives the summands, what "
    f"moved them, and who is counted or not and why. Of rows and members {_MOST_LISTED} are listed.",
    responses=responses(Explained, *KEYED, 404),
)
@needs(Scope.READ)
def explain(path: AccountPath, query: ExplainQuery) -> Response:
    return answer(document(app_context().runtime, path.account_id, since=query.since))
