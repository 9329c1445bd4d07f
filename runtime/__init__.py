"""The wiring: the only reader of the environment; builds Settings -> Runtime; embedded servers."""
