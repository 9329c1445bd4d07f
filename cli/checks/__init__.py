"""What `seatsync doctor` looks at: one file per group of checks, each a function of the runtime."""
