"""What a process runs with: settings, wiring, logs, the seat cache, embedded servers and the supervisor."""
