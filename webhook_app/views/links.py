"""Which account a subscription belongs to: the app's word, and how it is taken back."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from flask import Response
from sqlalchemy.orm import Session

from models.api_key import Scope
from models.audit import Cause
from services.ledger import links
from services.sync.linking import check_at_provider, was_seen
from webhook_app.auth import caller, needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_after_call, respond_once
from webhook_app.responses import WRITING, responses
from webhook_app.routes import Routes
from webhook_app.schemas.accounts import Linked, LinkPath

links_api = Routes("links", tag="Accounts")


@links_api.put(
    "/v1/accounts/<account_id>/subscriptions/<subscription_id>",
    summary="Say that a subscription belongs to an account",
    description="The app's word is final, whatever the subscription's metadata says, and settles a finding "
    "about it. Creates the account if need be, and has the subscription synced. One that was never seen is "
    "looked up at the provider first: 409 `subscription_not_at_provider` if there is none.",
    responses=responses(Linked, *WRITING, 409),
)
@needs(Scope.BILLING)
def put_link(path: LinkPath) -> Response:
    def ask() -> Result:
        runtime, subscription_id = app_context().runtime, path.subscription_id
        if not was_seen(runtime, subscription_id):
            app_context().slow_calls.wait_for(lambda: check_at_provider(runtime, subscription_id))
        with app_context().runtime.transaction() as session:
            changed = links.link(
                session,
                path.account_id,
                path.subscription_id,
                app_context().runtime.catalog,
                _cause("linked by the app"),
            )
        return _linked(path, changed=changed)

    return _moved(path, lambda: respond_after_call(ask))


@links_api.delete(
    "/v1/accounts/<account_id>/subscriptions/<subscription_id>",
    summary="Say that a subscription does not belong to an account",
    description="Undoes a link, or refuses the account that the subscription's metadata names, and settles "
    "the finding about it. Metadata that names this account is not believed until the app links the two. "
    "A subscription that leaves the account goes where its metadata or its own id says. Safe to repeat.",
    responses=responses(Linked, *WRITING, 404, 409),
)
@needs(Scope.BILLING)
def delete_link(path: LinkPath) -> Response:
    def work(session: Session) -> Result:
        changed = links.unlink(
            session,
            path.account_id,
            path.subscription_id,
            app_context().runtime.catalog,
            _cause("unlinked by the app"),
        )
        return _linked(path, changed=changed)

    return _moved(path, lambda: respond_once(work))


def _linked(path: LinkPath, *, changed: bool) -> Result:
    return Result(HTTPStatus.OK, {**path.model_dump(), "changed": changed})


def _moved(path: LinkPath, answer: Callable[[], Response]) -> Response:
    """Readers by subscription find its account anew, and a worker syncs it."""
    given = answer()
    app_context().runtime.cache.forget_account_of(path.subscription_id)
    if given.status_code == HTTPStatus.OK:
        app_context().ring(path.subscription_id)
    return given


def _cause(reason: str) -> Cause:
    return Cause(actor=caller().actor, source="app", reason=reason)
