"""`seatsync doctor`: one file per group of checks, each a function of the runtime."""
