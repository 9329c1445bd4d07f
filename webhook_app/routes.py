"""Route registration. The caller is checked first, then the request against the models the view declares."""

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
from webhook_app.query_strings import InvalidQuery, parameters
from webhook_app.request_body import json_body, raw_body
from webhook_app.schemas.common import NoQuery

View = Callable[..., Response]
Reader = Callable[[dict[str, Any]], object]

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER: Final[list[dict[str, list[str]]]] = [{"bearer": []}]


def _operation_id(*, bp_name: str, name: str, **_: object) -> str:
    """The name of the view. A single word, such as `show`, has the name of its group before it."""
    is_said_by_group = bp_name.startswith(name)
    return name if "_" in name or is_said_by_group else f"{bp_name}_{name}"


class Routes(APIBlueprint):
    """A group of routes, described in `/openapi.json` from what their views declare.

    A view takes the parameters `path`, `query` and `body` that it needs, each a pydantic model. It must be
    decorated with `@needs(scope)` or `@public`; otherwise it cannot be registered.
    """

    def __init__(self, name: str, *, tag: str, is_public: bool = False) -> None:
        super().__init__(
            name,
            __name__,
            abp_tags=[Tag(name=tag)],
            abp_security=None if is_public else _BEARER,
            operation_id_callback=_operation_id,
        )

    @staticmethod
    def create_view_func(func: View, *models: Any, **_settings: Any) -> View:
        """Replaces the library's request parsing, which builds JSON schemas on every request, decodes a JSON
        string twice and raises on a deeply nested body.
        """
        _header, _cookie, path, query, _form, body, _raw = models
        scope = auth.needed_scope(func)
        # Unknown query parameters are refused, not ignored. Public views (health checks) accept any.
        takes_no_query = query is None and scope is not None
        readers = _readers(path, query, body)

        @wraps(func)
        def view(**parts: Any) -> Response:
            if scope is not None and (refusal := app_context().auth.refusal(scope)) is not None:
                return refusal
            if request.method not in _SAFE_METHODS:
                raw_body()  # an incomplete request is refused even if the view takes no body
            try:
                if takes_no_query and request.query_string:
                    NoQuery.model_validate(parameters(request.query_string))
                arguments = {name: read(parts) for name, read in readers}
            except ValidationError as error:
                return problems.invalid(faults_of(error))
            except InvalidQuery as error:
                return problems.invalid([problems.Fault(error.name, error.problem)])
            return func(**arguments)

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
