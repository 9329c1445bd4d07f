"""The `seatsync` command, for operators. It calls the same services as the web process and the worker."""
