"""The background process: Celery app, tasks, schedule, sweep and wake-ups."""
