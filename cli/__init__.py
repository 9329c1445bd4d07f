"""The hand: the `seatsync` command, which starts the same stories by hand."""
