"""The log of requests to the provider's API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field, TypeAdapter

from simulator.http.responses import answer, nothing
from simulator.json_text import parse_query
from simulator.world import World


@dataclass(frozen=True, slots=True)
class ReportQuery:
    limit: Annotated[int, Field(ge=0)] = 100


REPORT_QUERY = TypeAdapter(ReportQuery)


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("requests", __name__, url_prefix="/requests")

    @blueprint.get("")
    def report() -> Response:
        query = parse_query(REPORT_QUERY, request.args.to_dict())
        return answer(world.requests.report(query.limit))

    @blueprint.delete("")
    def forget() -> Response:
        world.requests.forget()
        return nothing()

    return blueprint
