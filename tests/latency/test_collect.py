"""Collecting measurements: everything once, and what failed is known to have failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import Kernels, fit
from tvm.target import Target
from tvm_ffi import structural_hash

from tvm_prune.errors import MeasureError
from tvm_prune.latency import Records, Widths, open_records, sample_widths
from tvm_prune.latency.collect import Collector
from tvm_prune.latency.contest import FINALISTS
from tvm_prune.measure.simulated import SimulatedMeasurer, simulated_cost
from tvm_prune.measurement import Artifact, Failure, Measurement

Find = Callable[[str], Kernels]
BOARD = "a fingerprint"
CALL = 1e-7
"""Cost of calling a kernel; without it, one that only moves data would be simulated for free."""


class CountingMeasurer(SimulatedMeasurer):
    """Counts the different kernels that it builds; of these, some may fail to build or to run."""

    def __init__(self, broken: Callable[[int], str | None] = lambda _: None) -> None:
        super().__init__()
        self._numbers: dict[int, int] = {}
        self._broken = broken
        self._number_of: dict[Path, int] = {}

    @property
    def kernels(self) -> int:
        """Different kernels; the one that tells how steady the board is may be built twice."""
        return len(self._numbers)

    def build(self, modules: Sequence[Any]) -> list[Artifact | Failure]:
        results: list[Artifact | Failure] = []
        for module, artifact in zip(modules, super().build(modules), strict=True):
            assert isinstance(artifact, Artifact)
            number = self._numbers.setdefault(structural_hash(module), self.kernels)
            self._number_of[artifact.path] = number
            failed = self._broken(number) == "build"
            results.append(Failure("build", "no registers left") if failed else artifact)
        return results

    def run(self, artifacts: Sequence[Artifact]) -> list[Measurement | Failure]:
        results: list[Measurement | Failure] = []
        for artifact in artifacts:
            cost = Measurement((float(artifact.path.read_text()) + CALL,), self.unit)
            failed = self._broken(self._number_of[artifact.path]) == "run"
            results.append(Failure("run", "timed out") if failed else cost)
        return results


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with open_records(tmp_path / "m.sqlite") as records:
        yield records


@pytest.fixture(scope="module")
def found(kernels: Find) -> Kernels:
    return kernels("residual")


@pytest.fixture(scope="module")
def choices(found: Kernels) -> list[Widths]:
    dense = found.compilation.dense
    return [dense, *islice(sample_widths(found.compilation.limits, 0), 4)]


def collector(
    found: Kernels, records: Records, target: Target, measurer: SimulatedMeasurer
) -> Collector:
    return Collector(found.families, measurer, records, BOARD, target)


def test_every_kernel_at_every_choice_is_measured(
    found: Kernels, choices: list[Widths], records: Records, target: Target
) -> None:
    samples = collector(found, records, target, CountingMeasurer()).collect(choices)
    wanted = {
        (index, tuple(widths[group] for group in family.groups))
        for widths in choices
        for index, family in enumerate(found.families)
    }
    assert {(sample.family, sample.widths) for sample in samples} == wanted
    assert len(samples) == len(wanted)


def test_a_sample_is_the_cost_of_the_fastest_promising_schedule(
    found: Kernels, choices: list[Widths], records: Records, target: Target
) -> None:
    costs = {
        (sample.family, sample.widths): sample.cost
        for sample in collector(found, records, target, CountingMeasurer()).collect(choices)
    }
    widths = choices[-1]
    calls = found.compilation.kernel_calls(widths)
    for index, family in enumerate(found.families):
        offered = family.source.finalists(calls[family.calls[0]].workload, target, FINALISTS)
        own = tuple(widths[group] for group in family.groups)
        cheapest = min(simulated_cost(schedule.mod) for schedule in offered)
        assert costs[index, own] == cheapest + CALL


def test_no_kernel_is_measured_twice(
    found: Kernels, choices: list[Widths], records: Records, target: Target
) -> None:
    measurer = CountingMeasurer()
    first = collector(found, records, target, measurer)
    samples = first.collect([*choices, *choices])
    assert first.measured == measurer.kernels == len(records)
    again = collector(found, records, target, measurer)
    assert again.collect(choices) == samples
    assert again.measured == 0
    assert measurer.kernels == first.measured


def test_only_what_is_new_is_measured(
    found: Kernels, choices: list[Widths], records: Records, target: Target
) -> None:
    collector(found, records, target, CountingMeasurer()).collect(choices[:2])
    before = len(records)
    second = collector(found, records, target, CountingMeasurer())
    second.collect(choices)
    assert 0 < second.measured == len(records) - before


def test_another_board_and_another_schedule_are_measured_anew(
    found: Kernels, choices: list[Widths], records: Records, target: Target
) -> None:
    dense = choices[:1]
    collector(found, records, target, CountingMeasurer()).collect(dense)
    other = Collector(found.families, CountingMeasurer(), records, "another board", target)
    other.collect(dense)
    assert other.measured == len(records) / 2 > 0


@pytest.mark.parametrize("stage", ["build", "run"])
def test_failures_are_recorded_and_counted_and_only_runs_are_tried_again(
    stage: str,
    found: Kernels,
    choices: list[Widths],
    records: Records,
    target: Target,
    tmp_path: Path,
) -> None:
    measurer = CountingMeasurer(lambda position: stage if position % 3 == 0 else None)
    first = collector(found, records, target, measurer)
    samples = first.collect(choices)
    assert {failure.stage for failure in first.failures} == {stage}
    assert len(first.failures) == -(-first.measured // 3)
    assert len(records) == first.measured
    assert 0 < len(samples) < first.measured + len(first.failures)
    assert first.collect(choices) == samples
    retried = len(first.failures) if stage == "run" else 0
    with open_records(tmp_path / "m.sqlite") as later:
        again = collector(found, later, target, CountingMeasurer())
        assert len(again.collect(choices)) >= len(samples) + retried
        assert again.measured == retried


def test_a_failure_is_not_told_of_the_wrong_kernel(
    found: Kernels, choices: list[Widths], records: Records, target: Target
) -> None:
    """Results come back in order although those that failed to build are never run."""
    partial = collector(
        found, records, target, CountingMeasurer(lambda n: "build" if n % 2 else None)
    ).collect(choices)
    with open_records(Path(":memory:")) as fresh:
        everything = collector(found, fresh, target, CountingMeasurer()).collect(choices)
    assert set(partial) < set(everything)


def test_a_dense_kernel_that_cannot_be_measured_ends_the_run(
    found: Kernels, choices: list[Widths], records: Records, target: Target
) -> None:
    measurer = CountingMeasurer(lambda position: "run" if position == 1 else None)
    samples = collector(found, records, target, measurer).collect(choices)
    with pytest.raises(MeasureError, match=f"1 of {len(found.families)} dense kernels"):
        fit(found.families, samples, measurer.unit)


def test_what_is_collected_fits_a_model_that_knows_the_board(
    found: Kernels, records: Records, target: Target
) -> None:
    dense = found.compilation.dense
    widths = [dense, *islice(sample_widths(found.compilation.limits, 1), 12)]
    samples = collector(found, records, target, CountingMeasurer()).collect(widths)
    model = fit(found.families, samples, "simulated")
    for choice in widths:
        known = {(sample.family, sample.widths): sample.cost for sample in samples}
        total = sum(
            known[index, tuple(choice[group] for group in family.groups)] * len(family.calls)
            for index, family in enumerate(found.families)
        )
        assert model.total(choice) == pytest.approx(total)
    assert np.isfinite(model.total(tuple(1 for _ in dense)))
