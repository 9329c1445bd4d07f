"""Embedded PostgreSQL and Redis from Python packages, for development and tests, never for production."""

from runtime.embedded.errors import EmbeddedServerError
from runtime.embedded.postgres import PostgresServer
from runtime.embedded.redis import RedisServer

__all__ = ["EmbeddedServerError", "PostgresServer", "RedisServer"]
