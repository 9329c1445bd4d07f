"""The rules: catalogue, seat arithmetic, policies, errors. Pure Python, no I/O."""
