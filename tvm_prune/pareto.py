"""A Pareto sweep: one model pruned to many latency budgets in one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.board import Board
from tvm_prune.board_choice import chosen_board
from tvm_prune.budget import QUANTITIES, Budget, Budgets
from tvm_prune.errors import BudgetError
from tvm_prune.export import Bundle
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model
from tvm_prune.progress import Progress
from tvm_prune.result import PruneResult
from tvm_prune.settings import Settings
from tvm_prune.sweep_result import SweepPoint, SweepResult
from tvm_prune.workflow import Run, started

Arrays = Mapping[str, NDArray[Any]]

FEWEST_POINTS = 2


def sweep(
    model: Model,
    board: str | Board = "host",
    *,
    output: str | Path,
    points: int = 8,
    start: str | float = "0.9x",
    end: str | float = "0.3x",
    calibration: Arrays,
    evaluation: Arrays | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Prune a model to budgets spread over a range of latencies.

    Tuning and all measurements are shared. The bundle of each point is written as soon as it is
    made, and table and plot with it; at the end all models are measured once more, in turns.

    Args:
        model: the trained model, from :func:`tvm_prune.load`.
        board: name of a board, path of a board file, or a board.
        output: directory of the bundles, ``0.50x/`` and so on, and of table and plot.
        points: number of budgets.
        start: first latency budget, as for :func:`tvm_prune.prune`.
        end: last latency budget, relative if the first one is.
        calibration: samples stacked along the first axis, by input name.
        evaluation: labelled samples (``label``) to tell accuracies.
        settings: effort, criterion, seed and cache.
        progress: receives the steps of the run.

    Raises:
        BudgetError: if the range makes no sense; a budget that cannot be met is a point that says
            so.
        PruneError: any other error of this package, in one sentence each.
    """
    budgets = spread_budgets(start, end, points)
    board = chosen_board(board, settings.clock if settings else None)
    Budgets(tuple(budgets.values())).check(board.name, board.unit, board.is_microcontroller)
    with started(
        model,
        board,
        calibration=calibration,
        evaluation=evaluation,
        settings=settings,
        progress=progress,
    ) as run:
        result = SweepResult(model.name, run.search.session.board, None, (), together=False)
        for position, (name, budget) in enumerate(budgets.items(), start=1):
            run.search.progress.say(f"budget {position} of {points}: {name}")
            result = _with_point(result, run, name, Budgets((budget,)), Path(output))
            result.save(Path(output))
        result = _measured_together(result, run)
        result.save(Path(output))
    return result


def spread_budgets(start: str | float, end: str | float, points: int) -> dict[str, Budget]:
    """Latency budgets spread evenly over a range, by name.

    Raises:
        BudgetError: if the ends cannot be read, are equal or of different kinds, or there are
            fewer than two points.
    """
    first, last = (Budget.parse("latency", text) for text in (start, end))
    if points < FEWEST_POINTS:
        raise BudgetError(f"A sweep has at least {FEWEST_POINTS} points, not {points}.")
    if (first.ratio is None) != (last.ratio is None) or first == last:
        raise BudgetError(
            f"A sweep from '{start}' to '{end}' makes no sense; give two different budgets, both "
            f"relative or both absolute: {QUANTITIES['latency'].examples}."
        )
    if first.ratio is not None and last.ratio is not None:
        return _named(np.linspace(first.ratio, last.ratio, points), "x")
    amounts = np.linspace(float(first.amount or 0), float(last.amount or 0), points)
    return _named(amounts * 1e3, "ms")


def _named(values: NDArray[np.float64], unit: str) -> dict[str, Budget]:
    """Budgets with as many digits as it takes to tell them apart, and at least two."""
    for digits in range(2, 10):
        names = [f"{value:.{digits}f}{unit}" for value in values.tolist()]
        if len(set(names)) == len(names):
            break
    return {name: Budget.parse("latency", name) for name in names}


def _with_point(
    result: SweepResult, run: Run, name: str, budgets: Budgets, output: Path
) -> SweepResult:
    """Prune to one more budget, and write its bundle."""
    try:
        pruned = run.prune(budgets)
    except BudgetError as error:
        run.search.progress.say(str(error))
        return replace(result, points=(*result.points, SweepPoint(name, reason=str(error))))
    bundle = pruned.save(output / name)
    return replace(
        result,
        dense=result.dense or _dense_point(pruned),
        points=(*result.points, _point(name, pruned, bundle)),
    )


def _point(name: str, pruned: PruneResult, bundle: Bundle) -> SweepPoint:
    return SweepPoint(
        name=name,
        latency=pruned.latency,
        dense_latency=pruned.dense_latency,
        accuracy=pruned.accuracy,
        importance_kept=pruned.importance_kept,
        parameters=pruned.model.parameter_count,
        macs=pruned.macs,
        bundle=bundle.directory,
    )


def _dense_point(pruned: PruneResult) -> SweepPoint:
    return SweepPoint(
        name="dense",
        latency=pruned.dense_latency,
        dense_latency=pruned.dense_latency,
        accuracy=pruned.dense_accuracy,
        importance_kept=1.0,
        parameters=pruned.dense_parameters,
        macs=pruned.dense_macs,
    )


def _measured_together(result: SweepResult, run: Run) -> SweepResult:
    """Measure the dense model and all bundles in turns, so that drift hits all alike."""
    bundles = [point.bundle for point in result.points if point.bundle is not None]
    if result.dense is None:
        return result
    models = run.search.models
    libraries = [Bundle(bundle, {}).library for bundle in bundles]
    with run.search.progress.step("measuring all models in turns", 1) as step:
        dense, *latencies = models.measure([models.build(run.search.compilation.dense), *libraries])
        step.update(1)
    return replace(
        result,
        dense=replace(result.dense, latency=dense, dense_latency=dense),
        points=_with_latencies(result.points, latencies, dense),
        together=True,
    )


def _with_latencies(
    points: Sequence[SweepPoint], latencies: Sequence[Measurement], dense: Measurement
) -> tuple[SweepPoint, ...]:
    remaining = iter(latencies)
    return tuple(
        point
        if point.bundle is None
        else replace(point, latency=next(remaining), dense_latency=dense)
        for point in points
    )
