"""Show messages and their attempts, send events, send messages again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field, TypeAdapter

from simulator.http.responses import answer
from simulator.json_text import parse_body, parse_query
from simulator.webhooks.outbox import MessageState
from simulator.world import Emission, World


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuery:
    limit: Annotated[int, Field(ge=0)] = 100
    state: MessageState | None = None
    type: str | None = None
    subscription_id: str | None = None

    @property
    def wanted(self) -> dict[str, str]:
        fields = {"state": self.state, "type": self.type, "subscription_id": self.subscription_id}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    state: MessageState


EMISSION = TypeAdapter(Emission)
MESSAGE_QUERY = TypeAdapter(MessageQuery)
REPLAY = TypeAdapter(Replay)


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("messages", __name__)
    dispatcher, outbox = world.dispatcher, world.dispatcher.outbox

    @blueprint.post("/emit")
    def emit() -> Response:
        return answer(world.emit(parse_body(EMISSION, request.get_data())).shown(), 201)

    @blueprint.get("/messages")
    def list_messages() -> Response:
        query = parse_query(MESSAGE_QUERY, request.args.to_dict())
        found = outbox.find(limit=query.limit, **query.wanted)
        return answer(
            {"counts": outbox.counts(), "unfinished": dispatcher.unfinished(), "messages": found},
        )

    @blueprint.get("/messages/<webhook_id>")
    def show(webhook_id: str) -> Response:
        return answer(outbox.get(webhook_id).shown())

    @blueprint.post("/messages/<webhook_id>/replay")
    def replay(webhook_id: str) -> Response:
        message = outbox.get(webhook_id)
        dispatcher.replay(message)
        return answer(message.shown(), 202)

    @blueprint.post("/messages/replay")
    def replay_all() -> Response:
        """Send all messages in a state again, such as `failed`, or `stopped` and `dropped` for the first
        time.
        """
        wanted = parse_body(REPLAY, request.get_data())
        messages = outbox.all(wanted.state)
        for message in messages:
            dispatcher.replay(message)
        return answer({"replayed": len(messages)}, 202)

    return blueprint
