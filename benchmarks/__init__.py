"""Measures each bar of benchmarks/README.md against its baseline: `python -m benchmarks`."""
