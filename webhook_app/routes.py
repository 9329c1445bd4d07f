"""How routes are made: who may call a view is checked first, then what was sent, by the view's own models."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import orjson
from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ValidationError

from webhook_app import auth, problems
from webhook_app.bodies import raw_body
from webhook_app.door import door

View = Callable[..., Response]
Reader = Callable[[dict[str, Any]], object]

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
        readers = _readers(path, query, body)
        scope = auth.needed_scope(func)

        @wraps(func)
        def view(**parts: Any) -> Response:
            if scope is not None and (refusal := door().gatekeeper.refusal(scope)) is not None:
                return refusal
            try:
                asked = {name: read(parts) for name, read in readers}
            except ValidationError as error:
                return problems.invalid(problems.faults(error))
            except _NotJsonError as error:
                return problems.invalid([problems.Fault("body", str(error))])
            return func(**asked)

        return view


class _NotJsonError(ValueError):
    """The body cannot be read at all; the message says what to send."""


def _readers(
    path: type[BaseModel] | None, query: type[BaseModel] | None, body: type[BaseModel] | None
) -> tuple[tuple[str, Reader], ...]:
    readers: list[tuple[str, Reader]] = []
    if path is not None:
        readers.append(("path", path.model_validate))
    if query is not None:
        readers.append(("query", lambda _: query.model_validate(_query())))
    if body is not None:
        readers.append(("body", lambda _: body.model_validate(_body())))
    return tuple(readers)


def _query() -> dict[str, str]:
    return request.args.to_dict() if request.query_string else {}


def _body() -> object:
    if not request.is_json:
        raise _NotJsonError("must be JSON, sent as application/json")
    try:
        # Kept for the Idempotency-Key, which is bound to these bytes.
        return orjson.loads(raw_body())
    except orjson.JSONDecodeError:
        raise _NotJsonError("must be JSON in UTF-8, not nested deeply") from None
