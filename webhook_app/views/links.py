"""Links: the app decides which account a subscription belongs to, or that it does not belong to one."""

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
    summary="Link a subscription to an account",
    description="A link takes precedence over the subscription's metadata and closes a finding about its "
    "owner. Creates the account if it does not exist, and requests a sync. A subscription that was never "
    "seen is checked at the provider first: 409 `subscription_not_at_provider` if it does not exist.",
    responses=responses(Linked, *WRITING, 409),
)
@needs(Scope.BILLING)
def put_link(path: LinkPath) -> Response:
    def link() -> Result:
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

    return _after_move(path, lambda: respond_after_call(link))


@links_api.delete(
    "/v1/accounts/<account_id>/subscriptions/<subscription_id>",
    summary="Unlink a subscription from an account",
    description="Undoes a link, or rejects the account that the subscription's metadata names, and closes "
    "the finding about it. Afterwards, metadata that names this account is ignored until the app links the "
    "two. The subscription moves to the account that its metadata names otherwise, or to one under its own "
    "id. Safe to repeat.",
    responses=responses(Linked, *WRITING, 404, 409),
)
@needs(Scope.BILLING)
def delete_link(path: LinkPath) -> Response:
    def unlink(session: Session) -> Result:
        changed = links.unlink(
            session,
            path.account_id,
            path.subscription_id,
            app_context().runtime.catalog,
            _cause("unlinked by the app"),
        )
        return _linked(path, changed=changed)

    return _after_move(path, lambda: respond_once(unlink))


def _linked(path: LinkPath, *, changed: bool) -> Result:
    return Result(HTTPStatus.OK, {**path.model_dump(), "changed": changed})


def _after_move(path: LinkPath, respond: Callable[[], Response]) -> Response:
    """Respond, drop the cached account of the subscription, and wake a worker to sync it."""
    response = respond()
    app_context().runtime.cache.forget_account_of(path.subscription_id)
    if response.status_code == HTTPStatus.OK:
        app_context().wake_worker(path.subscription_id)
    return response


def _cause(reason: str) -> Cause:
    return Cause(actor=caller().actor, source="app", reason=reason)
