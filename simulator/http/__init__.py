"""The HTTP server under the API: sockets, checks of requests, faults, responses."""
