"""The outside: signatures, payload -> snapshot, HTTP client. Knows nothing of the memory."""
