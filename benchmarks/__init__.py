"""The bars of the README's "Speed", each measured beside its baseline: `python -m benchmarks`."""
