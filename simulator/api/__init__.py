"""The provider's HTTP API. Every file offers `routes(world)`; a new group of routes is a new file."""
