"""Tables and their queries. Nothing here commits."""
