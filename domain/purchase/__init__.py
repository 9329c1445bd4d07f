"""Buying and giving back seats: which cart gives the wanted seats, what it costs, in which steps."""
