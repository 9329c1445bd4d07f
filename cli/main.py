"""The `seatsync` command."""
