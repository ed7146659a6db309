"""Kernels that take turns: how often each runs, and how long it rests."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import tvm

from tvm_prune.measure.pool import Failed
from tvm_prune.measure.repeats import Repeats
from tvm_prune.measure.turns import time_in_turns

SIGNATURE = (("float32", (4,)),)


def finished(steps) -> tuple[list[Any], Any]:
    """What a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return yielded, end.value


def kernel(source: str) -> SimpleNamespace:
    """A stand-in for a kernel, which has to do nothing here."""
    if source == "refused":
        raise RuntimeError("the reason")
    answer = SimpleNamespace(results=[0.01])
    return SimpleNamespace(time_evaluator=lambda *_args, **_options: lambda *_tensors: answer)


def test_a_board_rests_before_each_repeat() -> None:
    repeats = Repeats(samples=3, seconds=0.0, cooldown=0.05)
    start = time.monotonic()
    _, [samples] = finished(time_in_turns([("fine", SIGNATURE)], kernel, tvm.cpu(), repeats))
    assert time.monotonic() - start >= 3 * 0.05
    assert samples == [0.01] * 3


def test_kernels_run_in_turns_before_any_is_timed() -> None:
    repeats = Repeats(samples=2, seconds=0.0, warm_up=0.05)
    start = time.monotonic()
    kernels = [("one", SIGNATURE), ("other", SIGNATURE)]
    order, samples = finished(time_in_turns(kernels, kernel, tvm.cpu(), repeats))
    assert time.monotonic() - start >= 0.05
    assert order[:6] == [0, 1] * 3
    assert len(order) > 2 + 2 * 2
    assert samples == [[0.01] * 2] * 2


def test_a_kernel_that_fails_while_warming_up_is_left_out() -> None:
    def failing(_source: str) -> SimpleNamespace:
        calls = iter([0.01])
        measured = lambda *_tensors: SimpleNamespace(results=[next(calls)])  # noqa: E731
        return SimpleNamespace(time_evaluator=lambda *_args, **_options: measured)

    def load(source: str) -> SimpleNamespace:
        return (failing if source == "failing" else kernel)(source)

    repeats = Repeats(samples=2, seconds=0.0, warm_up=0.02)
    kernels = [("failing", SIGNATURE), ("fine", SIGNATURE)]
    _, [failed, samples] = finished(time_in_turns(kernels, load, tvm.cpu(), repeats))
    assert isinstance(failed, Failed)
    assert samples == [0.01] * 2


def test_one_repeat_is_enough_where_the_clock_is_exact() -> None:
    repeats = Repeats(samples=5, exact=True)
    assert repeats.plan(1e-9) == (1, 1)
    _, [samples] = finished(time_in_turns([("fine", SIGNATURE)], kernel, tvm.cpu(), repeats))
    assert samples == [0.01]


def test_a_failure_that_ends_the_session_is_told_with_what_failed_first() -> None:
    def dead() -> None:
        raise OSError("connection closed")

    def steps(check):
        kernels = [("fine", SIGNATURE), ("refused", SIGNATURE)]
        return time_in_turns(kernels, kernel, tvm.cpu(), Repeats(samples=1), check)

    _, [_, failed] = finished(steps(lambda: None))
    assert isinstance(failed, Failed)
    assert failed.cause == "RuntimeError: the reason"
    with pytest.raises(RuntimeError, match="the reason"):
        finished(steps(dead))
