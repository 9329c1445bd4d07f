"""Measures each path against its baseline, for the bars in docs/performance.md: `python -m benchmarks`."""
