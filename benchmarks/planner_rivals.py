"""Other ways to choose widths, and ours beside each of them at the same measured latency."""

from __future__ import annotations

import itertools
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.equal_latency import widest_within
from tvm_prune.budget import Budgets
from tvm_prune.deployment import deploy
from tvm_prune.errors import BudgetError
from tvm_prune.latency import Widths
from tvm_prune.measurement import Measurement
from tvm_prune.operations import multiply_accumulates
from tvm_prune.planner import ByWork, Problem, kept_shares
from tvm_prune.workflow import Run


def cost_row(measurement: Measurement) -> dict[str, Any]:
    """A measurement as it is stored."""
    return {"median": measurement.median, "samples": list(measurement.samples)}


@dataclass(frozen=True)
class _Choice:
    """Widths that a method chose at one level, and what they cost while it searched.

    Attributes:
        level: latency ratio that the other method was to have.
        against: the other method.
        method: who chose: ``ours``, or the other one.
        widths: of every group.
        searched: measured cost.
    """

    level: float
    against: str
    method: str
    widths: Widths
    searched: float


def equal_latency_rows(run: Run, levels: Sequence[float], folder: Path) -> list[dict[str, Any]]:
    """Every other method at every level, and our plan that is no slower.

    Args:
        run: tuned and fitted.
        levels: latency ratios that the others may have at most.
        folder: where the built models go.
    """
    choices: list[_Choice] = []
    rows: list[dict[str, Any]] = []
    dense = run.search.models.dense_cost().median
    for level, (method, plan) in itertools.product(levels, _methods(run).items()):
        row = {"experiment": "equal latency", "level": level, "against": method}
        try:
            theirs, ratio = widest_within(
                level, plan, lambda widths: run.search.models.cost(widths).median / dense
            )
            best = run.planned(Budgets.parse(latency=f"{ratio:.6f}x")).best
        except BudgetError as error:
            rows.append({**row, "refused": str(error)})
            continue
        if best is not None:
            ours = best.solution.widths, best.measured.median
            choices.append(_Choice(level, method, "ours", *ours))
            choices.append(_Choice(level, method, method, theirs, ratio * dense))
    return rows + _delivered(run, choices, folder)


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


def _importance(run: Run, widths: Widths) -> tuple[float, float]:
    """Harmonic mean over the groups of the share kept, and the share of the plain sum."""
    scores = run.search.compilation.scores
    shares = [kept_shares(score)[width] for score, width in zip(scores, widths, strict=True)]
    totals = [float(score.sum()) for score in scores]
    return statistics.harmonic_mean(map(float, shares)), float(np.average(shares, weights=totals))


def _delivered(run: Run, choices: Sequence[_Choice], folder: Path) -> list[dict[str, Any]]:
    """Recover, build and evaluate every choice, and measure all of them in turns."""
    rows, libraries = [], [run.search.models.build(run.search.compilation.dense)]
    for number, choice in enumerate(choices):
        deployed = deploy(run.search, choice.widths, run.calibration)
        libraries.append(Path(shutil.copy(deployed.library, folder / f"level-{number}.so")))
        mean, total = _importance(run, choice.widths)
        rows.append(
            {
                "experiment": "equal latency",
                "level": choice.level,
                "against": choice.against,
                "method": choice.method,
                "widths": list(choice.widths),
                "latency_while_searching": choice.searched,
                "importance_kept": mean,
                "importance_sum_share": total,
                "accuracy": run.accuracy_of(libraries[-1], deployed.model),
                "dense_accuracy": run.dense_accuracy,
                "parameters": deployed.model.parameter_count,
                "macs": multiply_accumulates(deployed.model.module),
            }
        )
    dense, *latencies = run.search.models.measure(libraries)
    return [
        row | {"latency": cost_row(latency), "measured_ratio": latency.median / dense.median}
        for row, latency in zip(rows, latencies, strict=True)
    ]
