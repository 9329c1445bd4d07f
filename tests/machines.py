"""Runs Hypothesis state machines, and restricts them to the rules that one safeguard is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partialmethod
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import RULE_MARKER, RuleBasedStateMachine, run_state_machine_as_test

Machine = TypeVar("Machine", bound=RuleBasedStateMachine)


def play(machine: Callable[[], RuleBasedStateMachine], *, examples: int, steps: int, **more: Any) -> None:
    """Run `examples` sequences of up to `steps` rules; raises what an invariant or a rule raises."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def assert_it_finds_a_failure(
    machine: Callable[[], RuleBasedStateMachine], *, or_is_flaky: bool = False
) -> None:
    """Assert that the machine finds a failure; for a service with one of its safeguards removed.

    With `or_is_flaky`, a failure that does not repeat counts too: Hypothesis runs a failing sequence again,
    and real time has passed by then.
    """
    kinds = (AssertionError, Flaky) if or_is_flaky else AssertionError
    with pytest.raises(kinds):
        play(machine, examples=300, steps=12, phases=[Phase.generate], derandomize=True, print_blob=False)


def only(machine: type[Machine], *rules: str) -> type[Machine]:
    """The same machine, in which Hypothesis picks only these rules. The others remain ordinary methods.

    Most safeguards matter in few situations, which are found sooner among few rules.
    """
    others = {
        name: partialmethod(method)
        for name, method in inspect.getmembers(machine, callable)
        if hasattr(method, RULE_MARKER) and name not in rules
    }
    return type(machine.__name__, (machine,), others)
