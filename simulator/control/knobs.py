"""Change the knobs, rotate the webhook secret, reset the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator.http.responses import answer, nothing
from simulator.json_text import parse_body
from simulator.world import World


@dataclass(frozen=True, slots=True)
class Rotation:
    """The new secret; None to generate one."""

    secret: str | None = None


SETTINGS: TypeAdapter[Mapping[str, object]] = TypeAdapter(dict[str, object])
ROTATION = TypeAdapter(Rotation)


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("knobs", __name__)

    @blueprint.get("/knobs")
    def show() -> Response:
        return answer(world.board.now)

    @blueprint.patch("/knobs")
    def turn() -> Response:
        return answer(world.board.turn(parse_body(SETTINGS, request.get_data())))

    @blueprint.get("/secret")
    def show_secret() -> Response:
        return answer({"secret": world.signer.secret})

    @blueprint.post("/secret/rotate")
    def rotate_secret() -> Response:
        """The previous secret stays valid for a day divided by the speed."""
        wanted = parse_body(ROTATION, request.get_data() or b"{}")
        world.signer.rotate(wanted.secret or world.ids.secret(), world.board.now.speed)
        return answer({"secret": world.signer.secret})

    @blueprint.post("/reset")
    def reset() -> Response:
        world.reset()
        return nothing()

    return blueprint
