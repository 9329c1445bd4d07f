"""How routes are made: who may call a view is checked first, then what was sent, by the view's own models."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ValidationError

from webhook_app import auth, problems
from webhook_app.context import app_context
from webhook_app.faulty_requests import faults_of
from webhook_app.query_strings import UnreadableQuery, parameters
from webhook_app.request_body import json_body, raw_body
from webhook_app.schemas.common import NoQuery

View = Callable[..., Response]
Reader = Callable[[dict[str, Any]], object]

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCKED: Final[list[dict[str, list[str]]]] = [{"bearer": []}]


class Routes(APIBlueprint):
    """A group of routes, described in `/openapi.json` from what their views declare.

    A view takes `path`, `query` and `body`, each a model, as far as it needs them, and says by
    `@needs(scope)` or `@public` who may call it: one that does not say cannot be registered.
    """

    def __init__(self, name: str, *, tag: str, is_public: bool = False) -> None:
        super().__init__(
            name,
            __name__,
            abp_tags=[Tag(name=tag)],
            abp_security=None if is_public else _LOCKED,
            operation_id_callback=lambda *, name, **_: name,
        )

    @staticmethod
    def create_view_func(func: View, *models: Any, **_settings: Any) -> View:
        """Stands in for the library's reader, which builds JSON schemas on every request, decodes a JSON
        string twice and lets a deeply nested body raise.
        """
        _header, _cookie, path, query, _form, body, _raw = models
        scope = auth.needed_scope(func)
        # What a view would not heed is refused, not ignored; health checks may add what they like.
        is_silent = query is None and scope is not None
        readers = _readers(path, query, body)

        @wraps(func)
        def view(**parts: Any) -> Response:
            if scope is not None and (refusal := app_context().gatekeeper.refusal(scope)) is not None:
                return refusal
            if request.method not in _SAFE:
                raw_body()  # whole, also where the view has no use for one
            try:
                if is_silent and request.query_string:
                    NoQuery.model_validate(parameters(request.query_string))
                asked = {name: read(parts) for name, read in readers}
            except ValidationError as error:
                return problems.invalid(faults_of(error))
            except UnreadableQuery as error:
                return problems.invalid([problems.Fault(error.name, error.problem)])
            return func(**asked)

        return view


def _readers(
    path: type[BaseModel] | None, query: type[BaseModel] | None, body: type[BaseModel] | None
) -> tuple[tuple[str, Reader], ...]:
    readers: list[tuple[str, Reader]] = []
    if path is not None:
        readers.append(("path", path.model_validate))
    if query is not None:
        readers.append(("query", lambda _: query.model_validate(parameters(request.query_string))))
    if body is not None:
        readers.append(("body", lambda _: body.model_validate(json_body())))
    return tuple(readers)
