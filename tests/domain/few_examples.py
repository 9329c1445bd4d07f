"""Settings for the domain's property tests: few examples, and no deadline, which depends on the machine."""

from hypothesis import HealthCheck, settings

few_examples = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
