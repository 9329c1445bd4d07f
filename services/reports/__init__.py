"""Read-only answers: seats, their explanation and history, the audit, and the health of the service."""
