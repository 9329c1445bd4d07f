"""Answers: JSON bodies, and what the OpenAPI document says of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from flask import Response
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel

from webhook_app.problems import Problem


def answer(body: Any, status: int = HTTPStatus.OK) -> Response:
    """A JSON answer; times in UTC with a `Z`."""
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), status, mimetype="application/json")


def responses(shown: type[BaseModel], *problems: int, also: int | None = None) -> ResponseDict:
    """The OpenAPI responses of a route: its document under 200 (and `also`), problems under the rest."""
    described: ResponseDict = {"200": shown}
    if also is not None:
        described[str(also)] = shown
    for status in problems:
        described[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
        }
    return described
