"""The control API, for tests and people to control the simulator. Each module has `routes(world)`."""
