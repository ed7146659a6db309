"""Other ways to choose widths, and ours beside each of them at the same measured latency."""

from __future__ import annotations

import itertools
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.equal_latency import widest_within
from benchmarks.model_timing import of_turns
from benchmarks.results_file import circumstances
from tvm_prune.budget import Budgets
from tvm_prune.deployment import deploy
from tvm_prune.errors import BudgetError
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.operations import multiply_accumulates
from tvm_prune.planner import ByWork, Problem, kept_shares
from tvm_prune.workflow import Run

PLANS = 4
"""How often ours is planned, at most, to be as fast as another plan."""
CLOSE_ENOUGH = 0.98
"""Share of the other plan's latency that it should use."""


def cost_row(measurement: Measurement) -> dict[str, Any]:
    """A measurement as it is stored."""
    return {"median": measurement.median, "samples": list(measurement.samples)}


def equal_latency_rows(run: Run, levels: Sequence[float], folder: Path) -> list[dict[str, Any]]:
    """Every other method at every level, and our plan that is as fast.

    Args:
        run: tuned and fitted.
        levels: latency ratios that the others may have at most.
        folder: where the built models go.
    """
    rows: list[dict[str, Any]] = []
    dense = run.search.models.dense_cost().median
    for level, (method, plan) in itertools.product(levels, _methods(run).items()):
        row = {
            "experiment": "equal latency", "level": level, "against": method,
            "circumstances": circumstances(),
        }  # fmt: skip
        try:
            theirs, ratio = widest_within(
                level, plan, lambda widths: run.search.models.cost(widths).median / dense
            )
            ours = _as_fast_as(run, theirs, ratio)
        except BudgetError as error:
            rows.append({**row, "refused": str(error)})
            continue
        if ours is not None:
            pair = _delivered(run, {"ours": ours, method: theirs}, folder)
            rows += [{**row, **each} for each in pair]
    return rows


def _as_fast_as(run: Run, theirs: Widths, ratio: float) -> Widths | None:
    """Our plan that takes as long as another one where the two take turns, and no longer.

    What each was measured at beside the dense model tells that within several per cent only; so the
    budget is corrected by how the two compare. None if the dense model meets it.

    Args:
        run: tuned and fitted.
        theirs: the other plan.
        ratio: what it was measured at, over the dense model: the first budget.

    Raises:
        BudgetError: if the first budget cannot be met.
    """
    models = run.search.models
    found: dict[Widths, float] = {}
    for _ in range(PLANS):
        try:
            best = run.planned(Budgets.parse(latency=f"{ratio:.6f}x")).best
        except BudgetError:
            if not found:
                raise
            break
        if best is None:
            break
        widths = best.solution.widths
        libraries = [models.build(each) for each in (run.search.compilation.dense, widths, theirs)]
        dense, ours, other = models.measure(libraries)
        models.learn(widths, dense, ours)
        models.learn(theirs, dense, other)
        found[widths] = of_turns(ours.samples, other.samples)
        if CLOSE_ENOUGH <= found[widths] <= 1:
            break
        ratio /= found[widths]
    return min(found, key=lambda each: (found[each] > 1, abs(found[each] - 1)), default=None)


def _methods(run: Run) -> Mapping[str, Callable[[float], Widths]]:
    """The other methods: widths by a share from 0 to 1."""
    compilation, macs = run.search.compilation, run.search.counts["macs"]
    multiples = ByWork.at_multiples(macs, compilation.limits)
    any_width = ByWork(macs, [range(lowest, highest + 1) for lowest, highest in compilation.limits])
    problem = Problem(
        run.search.fitter.fit(),
        compilation.dense,
        any_width.candidates,
        compilation.scores,
        0.0,
        curves=compilation.shares,
    )

    def flops(method: ByWork, share: float) -> Widths:
        return method.plan(problem, share * macs.at(compilation.dense)).widths

    def uniform(share: float) -> Widths:
        return tuple(
            min(choices, key=lambda width: abs(width - share * width_of_group))
            for choices, width_of_group in zip(multiples.candidates, compilation.dense, strict=True)
        )

    return {
        "flops": partial(flops, multiples),
        "flops_any_width": partial(flops, any_width),
        "uniform": uniform,
    }


def _expected_loss(run: Run, widths: Widths) -> dict[str, float]:
    """What all groups lose one by one, added up, where their sensitivity is what is planned by."""
    curves = run.search.compilation.shares
    if not curves:
        return {}
    shares = [curve[width] for curve, width in zip(curves, widths, strict=True)]
    return {"expected_loss": float(sum(1.0 / share - 1.0 for share in shares))}


def _importance(run: Run, widths: Widths) -> tuple[float, float]:
    """Harmonic mean over the groups of the share kept, and the share of the plain sum."""
    scores = run.search.compilation.scores
    shares = [kept_shares(score)[width] for score, width in zip(scores, widths, strict=True)]
    totals = [float(score.sum()) for score in scores]
    return statistics.harmonic_mean(map(float, shares)), float(np.average(shares, weights=totals))


def _delivered(run: Run, pair: Mapping[str, Widths], folder: Path) -> list[dict[str, Any]]:
    """Recover, build and evaluate the widths that two methods chose, and measure both in turns."""
    models, rows = run.search.models, []
    libraries = [models.build(run.search.compilation.dense)]
    for method, widths in pair.items():
        deployed = deploy(run.search, widths, run.calibration)
        libraries.append(Path(shutil.copy(deployed.library, folder / f"{method}.so")))
        mean, total = _importance(run, widths)
        rows.append(
            {
                "method": method,
                "widths": list(widths),
                "latency_while_searching": models.cost(widths).median,
                "importance_kept": mean,
                "importance_sum_share": total,
                **_expected_loss(run, widths),
                "accuracy": run.accuracy_of(libraries[-1], deployed.model),
                "dense_accuracy": run.dense_accuracy,
                "parameters": deployed.model.parameter_count,
                "macs": multiply_accumulates(deployed.model.module),
            }
        )
    dense, *latencies = models.measure(libraries)
    return [
        row | {"latency": cost_row(latency), "measured_ratio": latency.median / dense.median}
        for row, latency in zip(rows, latencies, strict=True)
    ]
