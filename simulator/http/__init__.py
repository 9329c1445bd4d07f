"""The HTTP server: sockets, checks of requests, faults, responses."""
