"""Celery beat's scheduler: in memory, and at its start every job is due."""

from __future__ import annotations

from celery.beat import Scheduler


class EagerScheduler(Scheduler):  # type: ignore[misc]  # Celery is not typed
    """Keeps nothing in the working folder. Rows decide what is due of each job, so a beat that starts again
    does nothing twice, and shows at once that it is alive.
    """

    def setup_schedule(self) -> None:
        """Celery's own, with the last run of our jobs one period ago."""
        super().setup_schedule()
        for name in self.app.conf.beat_schedule:
            entry = self.schedule[name]
            entry.last_run_at -= entry.schedule.run_every
