"""The work: Celery app and schedule, and the stories of several steps."""
