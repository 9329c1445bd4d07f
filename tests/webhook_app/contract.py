"""Holds every answer given in these tests to what `/openapi.json` says of its route."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import import_module
from pkgutil import iter_modules

from flask import Flask, Response, request
from pydantic import BaseModel, ValidationError

from webhook_app import schemas
from webhook_app.problems import Problem

REFERENCE = "#/components/schemas/"
MODULES = [import_module(f"{schemas.__name__}.{one.name}") for one in iter_modules(schemas.__path__)]


@dataclass
class Contract:
    """Watches an app; `breaches` are the answers it was not allowed to give."""

    document: dict
    breaches: list[str] = field(default_factory=list)

    def check(self, answer: Response) -> Response:
        if (fault := self._fault(answer)) is not None:
            self.breaches.append(f"{request.method} {request.path} {answer.status_code}: {fault}")
        return answer

    def _fault(self, answer: Response) -> str | None:
        if answer.status_code >= HTTPStatus.BAD_REQUEST and (unlike := mismatch(Problem, answer)) is not None:
            return unlike
        operation = self._operation()
        if operation is None:
            return None
        described = operation["responses"].get(str(answer.status_code))
        if described is None:
            return "a status that the document does not name"
        content = described.get("content", {})
        if content and answer.content_type not in content:
            return f"{answer.content_type} where the document has {list(content)}"
        reference = content.get(answer.content_type, {}).get("schema", {}).get("$ref")
        return mismatch(model_of(reference), answer) if reference else None

    def _operation(self) -> dict | None:
        """What the document says of the present call; None for what has no place in it."""
        rule = request.url_rule
        if rule is None or rule.rule == "/openapi.json" or request.method == "OPTIONS":
            return None
        method = "get" if request.method == "HEAD" else request.method.lower()
        return self.document["paths"][documented(rule.rule)][method]


def documented(rule: str) -> str:
    """A rule of the URL map as the document writes it."""
    return re.sub(r"<(?:[a-z]+:)?(\w+)>", r"{\1}", rule)


def model_of(reference: str) -> type[BaseModel]:
    name = reference.removeprefix(REFERENCE)
    if name == "Problem":
        return Problem
    found = (getattr(module, name, None) for module in MODULES)
    return next(model for model in found if model is not None)


def mismatch(model: type[BaseModel], answer: Response) -> str | None:
    """Where a body differs from its model; a HEAD has none."""
    if request.method == "HEAD":
        return None
    try:
        model.model_validate_json(answer.data)
    except ValidationError as error:
        return str(error)
    if model is Problem and answer.json["status"] != answer.status_code:
        return "a problem document of another status"
    return None


def watch(app: Flask) -> Contract:
    contract = Contract(app.api_doc)
    app.after_request(contract.check)
    return contract
