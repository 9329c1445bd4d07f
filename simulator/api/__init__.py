"""The provider's HTTP API. Each module has `routes(world)`; a new group of routes is a new module."""
