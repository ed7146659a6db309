"""Measuring on a machine that does other things as well: the calmest look counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from tvm_prune.latency.steady import Reference, SteadyRunner
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer

Outcome = Measurement | Failure
FAILED = Failure("run", "timed out")


def calm(cost: float) -> Measurement:
    return Measurement((cost, cost, cost), "seconds")


def noisy(cost: float) -> Measurement:
    return Measurement((cost * 0.5, cost, cost * 1.5), "seconds")


def kernel(name: str) -> Artifact:
    return Artifact(Path(name), ())


@dataclass
class Script:
    """A measurer that plays a list of outcomes for each kernel; the last one repeats."""

    outcomes: dict[str, list[Outcome]]
    asked: list[list[str]] = field(default_factory=list)

    def run(self, artifacts: Sequence[Artifact]) -> list[Outcome]:
        names = [artifact.path.name for artifact in artifacts]
        self.asked.append(names)
        return [self._next(name) for name in names]

    def _next(self, name: str) -> Outcome:
        left = self.outcomes[name]
        return left.pop(0) if len(left) > 1 else left[0]


def runner(
    usual: dict[str, float] | None = None, looks: int = 1, **outcomes: list[Any]
) -> tuple[SteadyRunner, Script]:
    script = Script(outcomes)
    references = [Reference(kernel(name), cost) for name, cost in (usual or {}).items()]
    return SteadyRunner(cast("Measurer", script), references, looks), script


def test_calm_kernels_are_measured_once_and_told_in_order() -> None:
    steady, script = runner(a=[calm(1.0)], b=[calm(2.0)])
    assert steady.run([kernel("a"), kernel("b")]) == [calm(1.0), calm(2.0)]
    assert script.asked == [["a", "b"]]
    assert steady.repeated == 0


def test_only_noisy_kernels_are_measured_again() -> None:
    steady, script = runner(a=[calm(1.0)], b=[noisy(5.0), calm(2.0)])
    assert steady.run([kernel("a"), kernel("b")]) == [calm(1.0), calm(2.0)]
    assert script.asked == [["a", "b"], ["b"]]
    assert steady.repeated == 1


def test_where_it_never_gets_calm_the_calmest_look_counts() -> None:
    little = Measurement((0.9, 1.0, 1.1, 1.2), "seconds")
    steady, script = runner(a=[noisy(1.0), little, noisy(2.0)])
    assert steady.run([kernel("a")]) == [little]
    assert 2 < len(script.asked) < 10


def test_a_failure_is_told_and_not_tried_again() -> None:
    steady, script = runner(a=[FAILED], b=[calm(1.0)])
    assert steady.run([kernel("a"), kernel("b")]) == [FAILED, calm(1.0)]
    assert len(script.asked) == 1


def test_a_failure_of_a_second_look_does_not_replace_the_first() -> None:
    steady, _ = runner(a=[noisy(1.0), FAILED])
    assert steady.run([kernel("a")]) == [noisy(1.0)]


def test_what_differs_from_look_to_look_is_looked_at_several_times() -> None:
    unlucky = [calm(2.0), calm(4.0), calm(2.0)]
    steady, script = runner(looks=3, a=unlucky, b=[calm(1.0)])
    [a, b] = steady.run([kernel("a"), kernel("b")])
    assert a == Measurement((2.0,) * 3 + (4.0,) * 3 + (2.0,) * 3, "seconds")
    assert b == Measurement((1.0,) * 9, "seconds")
    assert script.asked == [["a", "b"]] * 3
    assert steady.repeated == 0


def test_a_noisy_look_is_made_up_for_and_does_not_count() -> None:
    steady, script = runner(looks=2, a=[calm(1.0), noisy(5.0), calm(3.0)], b=[calm(1.0)])
    [a, _] = steady.run([kernel("a"), kernel("b")])
    assert a == Measurement((1.0,) * 3 + (3.0,) * 3, "seconds")
    assert script.asked == [["a", "b"], ["a", "b"], ["a"]]
    assert steady.repeated == 1


def test_the_references_take_turns_with_the_kernels_and_are_not_told() -> None:
    steady, script = runner(
        {"r": 1.0, "s": 2.0}, r=[calm(1.0)], s=[calm(2.0)], a=[calm(3.0)], b=[calm(2.0)]
    )
    assert steady.run([kernel("a"), kernel("b")]) == [calm(3.0), calm(2.0)]
    assert script.asked == [["r", "s", "a", "b"]]


def test_kernels_are_measured_again_where_the_references_were_slow() -> None:
    """What slowed the reference down slowed those that took turns with it down too."""
    steady, script = runner({"r": 1.0}, r=[calm(1.5), calm(1.0)], b=[calm(4.0), calm(2.0)])
    assert steady.run([kernel("b")]) == [calm(2.0)]
    assert script.asked == [["r", "b"]] * 2


def test_one_reference_of_several_that_is_slow_by_itself_is_not_believed() -> None:
    usual = {"r": 1.0, "s": 1.0, "t": 1.0}
    steady, script = runner(usual, r=[calm(2.4)], s=[calm(1.0)], t=[calm(1.0)], a=[calm(4.0)])
    assert steady.run([kernel("a")]) == [calm(4.0)]
    assert len(script.asked) == 1


@pytest.mark.parametrize("drift", [0.8, 1.25])
def test_what_changes_the_references_for_good_is_taken_out_of_the_costs(drift: float) -> None:
    steady, _ = runner({"r": 1.0}, r=[calm(drift)], b=[calm(drift * 4.0)])
    [measured] = steady.run([kernel("b")])
    assert isinstance(measured, Measurement)
    assert measured.median == pytest.approx(4.0)


def test_a_reference_that_fails_stops_nothing() -> None:
    steady, script = runner({"r": 1.0}, r=[FAILED], a=[calm(3.0)])
    assert steady.run([kernel("a")]) == [calm(3.0)]
    assert len(script.asked) == 1


def test_nothing_to_measure_is_no_work() -> None:
    steady, script = runner({"r": 1.0}, r=[calm(1.0)])
    assert steady.run([]) == []
    assert script.asked == []
