"""Depth: blocks are dropped where that disturbs the output less than thinner channels do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from tvm_prune.board import Board
from tvm_prune.budget import Budgets
from tvm_prune.errors import BudgetError, ModelError
from tvm_prune.model import Model, bound_inputs
from tvm_prune.progress import Progress, Silent
from tvm_prune.recover import imitate
from tvm_prune.result import PruneResult
from tvm_prune.sensitivity import output_loss
from tvm_prune.settings import Settings
from tvm_prune.transform import drop_block, find_blocks
from tvm_prune.verification import reference_outputs
from tvm_prune.workflow import prune, started

Arrays = Mapping[str, NDArray[Any]]

SAMPLES = 128
"""Samples on which outputs are compared, about."""


def prune_depth(
    model: Model,
    board: str | Board = "host",
    *,
    most_blocks: int,
    calibration: Arrays,
    evaluation: Arrays | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
    **budgets: Any,
) -> PruneResult:
    """Prune channels of the model, and of the model without one block, two blocks, and so on.

    The block that goes is the one whose absence disturbs the output least; the layers that are left
    are refitted to the whole model. All are pruned to the same budgets, relative ones
    being shares of what the whole model costs, and the one whose output is nearest to that of the
    whole model is returned.

    Args:
        model: the trained model.
        board: name of a board, path of a board file, or a board.
        most_blocks: blocks that may go, at most.
        calibration: samples stacked along the first axis, by input name.
        evaluation: labelled samples (``label``) to tell the accuracies.
        settings: effort, criterion, seed and cache.
        progress: receives the steps of the run.
        budgets: as for :func:`tvm_prune.prune`.

    Raises:
        BudgetError: if no model meets the budgets.
        PruneError: any other error of this package.
    """
    settings, progress = settings or Settings(), progress or Silent()
    bounds = Budgets.parse(**budgets)
    few = {name: array[:SAMPLES] for name, array in calibration.items()}
    wanted = reference_outputs(model, bound_inputs(model.inputs, few, batch=True))
    arguments = {"calibration": calibration, "settings": settings, "progress": progress}
    with started(model, board, evaluation=evaluation, **arguments) as run:  # type: ignore[arg-type]
        costs, accuracy = run.search.dense_costs(), run.dense_accuracy
        whole = run.search.models.dense_cost()
    amounts = bounds.bounds(costs)
    best: tuple[float, PruneResult] | None = None
    failure: BudgetError | None = None
    for dropped, variant in _variants(model, most_blocks, few, calibration, settings.seed):
        if dropped:
            progress.say(f"without {' and '.join(dropped)}:")
        try:
            result = prune(variant, board, evaluation=evaluation, **arguments, **amounts)  # type: ignore[arg-type]
        except (BudgetError, ModelError) as error:
            failure = failure or BudgetError(str(error))
            progress.say(str(error))
            continue
        loss = output_loss(wanted, reference_outputs(result.model, few))
        progress.say(f"the output moves by {loss:.4g}")
        if best is None or loss < best[0]:
            own = result.dense_latency if not dropped else whole
            best = loss, replace(
                result, dropped=dropped, budget=str(bounds), dense_latency=own,
                dense_accuracy=accuracy, dense_parameters=int(costs["parameters"]),
                dense_macs=int(costs["macs"]),
            )  # fmt: skip
    if best is None:
        raise failure or BudgetError("No model was tried.")
    return best[1]


def _variants(
    model: Model, most_blocks: int, few: Arrays, calibration: Arrays, seed: int
) -> Iterator[tuple[tuple[str, ...], Model]]:
    """The model, and the model without the blocks that are missed least, one after the other."""
    dropped: tuple[str, ...] = ()
    left = model
    yield dropped, left
    for _ in range(most_blocks):
        blocks = find_blocks(left)
        if not blocks:
            return
        block, left = min(
            ((block, drop_block(left, block)) for block in blocks),
            key=lambda pair: _loss(model, pair[1], few),
        )
        left = left.with_parameters(imitate(model, left, calibration, seed))
        dropped = (*dropped, block.name)
        yield dropped, left


def _loss(model: Model, less: Model, few: Arrays) -> float:
    return output_loss(reference_outputs(model, few), reference_outputs(less, few))
