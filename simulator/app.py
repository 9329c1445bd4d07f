"""The Flask application: the provider's API and the control API."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from types import ModuleType

from flask import Blueprint, Flask, Response
from werkzeug.exceptions import HTTPException

from simulator import api, control
from simulator.http.faults import Faults
from simulator.http.request_checks import CONTROL, Gate
from simulator.http.responses import refuse
from simulator.refusal import Refusal
from simulator.world import World

CODES = {400: "INVALID_REQUEST_PARAMETERS", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def create_app(world: World, stopping: threading.Event) -> Flask:
    app = Flask("simulator", static_folder=None)
    app.register_blueprint(_group("api", api, world))
    app.register_blueprint(_group("control", control, world, CONTROL))
    Gate(world, Faults(world.settings.seed, stopping)).guard(app)
    app.register_error_handler(Refusal, refuse)
    app.register_error_handler(HTTPException, _refuse_http)
    return app


def _group(name: str, package: ModuleType, world: World, prefix: str | None = None) -> Blueprint:
    """The routes of all modules in a package. To add a group of routes, add a module with `routes(world)`."""
    group = Blueprint(name, package.__name__, url_prefix=prefix)
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        group.register_blueprint(module.routes(world))
    return group


def _refuse_http(error: HTTPException) -> Response:
    """An error raised by Flask or its router, in the provider's format."""
    status = error.code or 500
    return refuse(Refusal(status, CODES.get(status, "INTERNAL_SERVER_ERROR"), error.description or ""))
