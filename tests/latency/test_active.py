"""Active sampling: within its budget, what it learns from is not what it is judged on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from formula import FormulaCollector, true_cost
from small_models import Kernels

from tvm_prune.latency import ActiveSampler, Effort, Kernel, LatencyFitter, LatencyModel
from tvm_prune.latency.samples import dense_kernels

Find = Callable[[str], Kernels]
UNREACHABLE = 2.0


@pytest.fixture(scope="module")
def found(kernels: Find) -> Kernels:
    return kernels("example")


def sampler(found: Kernels, effort: Effort, **others: Any) -> ActiveSampler:
    collector = others.pop("collector", None) or FormulaCollector(found.families)
    fitter = others.pop("fitter", None) or LatencyFitter(found.families, "seconds")
    limits = found.compilation.limits
    return ActiveSampler(found.families, limits, collector, fitter, effort, **others)


def test_no_more_is_measured_than_the_budget_and_nothing_twice(found: Kernels) -> None:
    run = sampler(found, Effort(110, within_10_percent=UNREACHABLE))
    model = run.run()
    asked = run.collector.asked
    assert len(asked) == len(set(asked)) == 110
    assert len(model.measured) == 110
    assert set(dense_kernels(found.families)) <= set(asked)


def test_the_error_is_told_on_kernels_that_the_model_was_not_fitted_to(found: Kernels) -> None:
    seen: list[tuple[set[Any], set[Any]]] = []
    fitter = LatencyFitter(found.families, "seconds")

    def look(_model: LatencyModel) -> Sequence[Kernel]:
        seen.append((set(fitter.samples), set(fitter.held_out)))
        return ()

    effort = Effort(140, within_10_percent=UNREACHABLE)
    model = sampler(found, effort, fitter=fitter, wanted=look).run()
    held_out = seen[0][1]
    assert len(seen) > 1
    assert model.error.samples == len(held_out) == 21
    for learned, kept in seen:
        assert kept == held_out
        assert not learned & kept
    assert held_out <= set(model.measured)


def test_it_stops_when_held_out_kernels_are_predicted_well_enough(found: Kernels) -> None:
    run = sampler(found, Effort(1500, within_10_percent=0.5))
    model = run.run()
    assert model.error.within_10_percent >= 0.5
    assert len(run.collector.asked) < 1500


def test_it_stops_when_the_time_is_up_but_never_before_the_dense_kernels(found: Kernels) -> None:
    run = sampler(found, Effort(1500, seconds=0.0))
    model = run.run()
    assert set(run.collector.asked) == set(dense_kernels(found.families))
    assert math.isfinite(model.total(found.compilation.dense))


def test_what_the_planner_wants_is_measured_first(found: Kernels) -> None:
    index = next(i for i, family in enumerate(found.families) if len(family.groups) == 2)
    wanted = [Kernel(index, (13, 17)), Kernel(index, (19, 23))]
    run = sampler(found, Effort(110, within_10_percent=UNREACHABLE), wanted=lambda _model: wanted)
    model = run.run()
    for kernel in wanted:
        assert (kernel.family, kernel.widths) in model.measured


def test_kernels_that_cannot_be_measured_are_asked_once_and_cost_nothing(found: Kernels) -> None:
    effort = Effort(120, within_10_percent=UNREACHABLE)
    first = sampler(found, effort)
    first.run()
    dense = set(dense_kernels(found.families))
    broken = frozenset(k for k in first.collector.asked[::3] if k not in dense)
    run = sampler(found, effort, collector=FormulaCollector(found.families, broken))
    model = run.run()
    assert len(run.collector.asked) == len(set(run.collector.asked))
    assert len(model.measured) == 120
    assert not {(kernel.family, kernel.widths) for kernel in broken} & set(model.measured)


def test_a_kernel_of_a_family_without_samples_near_is_measured_not_guessed(
    found: Kernels,
) -> None:
    """The model knows many kernels, but of one family only the dense one."""
    run = sampler(found, Effort(120, within_10_percent=UNREACHABLE))
    known = run.run()
    index = next(i for i, family in enumerate(found.families) if len(family.groups) == 2)
    fitter = LatencyFitter(found.families, "seconds")
    fitter.add(
        [
            sample
            for sample in run.fitter.samples.values()
            if sample.family != index or sample.widths == found.families[index].widths
        ]
    )
    model = fitter.fit()
    half = tuple(width // 2 for width in found.compilation.dense)
    assert index in {kernel.family for kernel in model.unsure(half)}
    assert len(known.unsure(half)) < len(found.families)
    assert model.unsure(found.compilation.dense) == []


def test_intervals_hold_the_truth_of_most_unseen_kernels(found: Kernels) -> None:
    model = sampler(found, Effort(200, within_10_percent=UNREACHABLE)).run()
    inside = []
    generator = np.random.default_rng(5)
    for index, family in enumerate(found.families):
        if not family.groups:
            continue
        widths = np.stack(
            [generator.integers(max(1, width // 8), width + 1, 40) for width in family.widths],
            axis=1,
        )
        low, high = model.interval(index, widths).T
        truth = true_cost(family, widths.astype(float))
        inside += ((low <= truth * (1 + 1e-6)) & (truth * (1 - 1e-6) <= high)).tolist()
    assert np.mean(inside) > 0.75
