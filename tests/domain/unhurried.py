"""How property tests run: few examples, and no stopwatch, which only measures how busy the machine is."""

from hypothesis import HealthCheck, settings

unhurried = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
