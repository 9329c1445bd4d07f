"""`seatsync doctor`: one file per group of checks. Each group is a function that takes the runtime."""
