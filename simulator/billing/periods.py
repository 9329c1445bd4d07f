"""Billing periods: a date moved by days, weeks, months or years."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta

DAYS = {"Day": 1, "Week": 7}
MONTHS = {"Month": 1, "Year": 12}


def later(moment: datetime, count: int, interval: str) -> datetime:
    """`count` intervals after `moment`; the 31st becomes the last day of a shorter month."""
    if interval in DAYS:
        return moment + timedelta(days=count * DAYS[interval])
    months = moment.month - 1 + count * MONTHS[interval]
    year, month = moment.year + months // 12, months % 12 + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return moment.replace(year=year, month=month, day=day)
