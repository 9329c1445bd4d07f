"""A stand-in for the billing provider: a program of its own that speaks only HTTP."""
