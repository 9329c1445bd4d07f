"""The bars of benchmarks/README.md, each measured beside its baseline: `python -m benchmarks`."""
