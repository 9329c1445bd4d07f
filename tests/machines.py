"""State machines: how they are played, and how a world is narrowed to what one safeguard is there for."""

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
    """So many worlds, each with so many steps; raises what an invariant or a step raises."""
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
    """That the machine, played against a service without one of its safeguards, fails on a promise.

    `or_is_flaky`: Hypothesis plays what it found once more, and where real time has gone on by then, the
    repetition may differ.
    """
    kinds = (AssertionError, Flaky) if or_is_flaky else AssertionError
    with pytest.raises(kinds):
        play(machine, examples=300, steps=12, phases=[Phase.generate], derandomize=True, print_blob=False)


def only(machine: type[Machine], *rules: str) -> type[Machine]:
    """The same world, in which chance plays these rules alone; the others are still there to be called.

    A safeguard is for few things that happen, and among few they are found soon.
    """
    others = {
        name: partialmethod(method)
        for name, method in inspect.getmembers(machine, callable)
        if hasattr(method, RULE_MARKER) and name not in rules
    }
    return type(machine.__name__, (machine,), others)
