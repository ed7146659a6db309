"""Depth: blocks are dropped where that disturbs the output less than thinner channels do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from tvm_prune.board import Board
from tvm_prune.budget import Budgets
from tvm_prune.channels import Channels
from tvm_prune.errors import BudgetError, ModelError
from tvm_prune.model import Model, bound_inputs
from tvm_prune.planner import Removal
from tvm_prune.progress import Progress, Silent
from tvm_prune.recover import imitate
from tvm_prune.result import PruneResult
from tvm_prune.search import Search
from tvm_prune.sensitivity import output_loss
from tvm_prune.settings import Settings
from tvm_prune.transform import Block, drop_block, find_blocks
from tvm_prune.verification import reference_outputs
from tvm_prune.workflow import prune, started

Arrays = Mapping[str, NDArray[Any]]

SAMPLES = 128
"""Samples on which outputs are compared, about."""

PREDICTED = ("latency", "parameters", "macs")
"""Quantities that the planner knows of a model without some of its blocks."""


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
    """Prune channels of the model, and whole blocks where the planner finds that better.

    A block without which the model still fits together is a choice of the planner like any width:
    its kernels cost nothing then, and its loss is how far the output moves without it, the layers
    that are left refitted. Where the planner drops any, the model without them is pruned
    to the same budgets, relative ones being shares of what the whole model costs, and so is the
    whole model; the one whose output is nearer to that of the whole model is returned.

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
        blocks = _dispensable(run.search, amounts, most_blocks, few, wanted)
    best: tuple[float, PruneResult] | None = None
    failure: BudgetError | None = None
    for dropped in [(), blocks] if blocks else [()]:
        variant = model
        if dropped:
            progress.say(f"without {' and '.join(dropped)}:")
            variant = _without(model, dropped, calibration, settings.seed)
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


def _dispensable(
    search: Search,
    amounts: Mapping[str, float],
    most: int,
    few: Arrays,
    wanted: Sequence[NDArray[Any]],
) -> tuple[str, ...]:
    """Names of the blocks that the planner would drop to meet bounds, in program order.

    Args:
        search: the run on the whole model.
        amounts: bounds by quantity.
        most: blocks that may go, at most.
        few: samples by input name.
        wanted: outputs of the whole model for them.
    """
    model, channels = search.compilation.model, search.compilation.channels
    found: dict[tuple[int, ...], Block] = {}
    for block in find_blocks(model):
        groups = groups_inside(channels, block)
        if groups and not any(set(groups) & set(known) for known in found):
            found[groups] = block
    removals = []
    with search.progress.step("judging which blocks are missed", len(found)) as step:
        for done, (groups, block) in enumerate(found.items(), start=1):
            less = _without(model, (block.name,), few, search.settings.seed)
            removals.append(Removal(groups, output_loss(wanted, reference_outputs(less, few))))
            step.update(done, block.name)
    # Flash and RAM are known of models that can be built, which the planner's are only afterwards.
    bounds = {name: amount for name, amount in amounts.items() if name in PREDICTED}
    try:
        widths = search.predicted_widths(bounds, removals, most)
    except BudgetError as error:
        search.progress.say(str(error))
        return ()
    return tuple(block.name for groups, block in found.items() if widths[groups[0]] == 0)


def groups_inside(channels: Channels, block: Block) -> tuple[int, ...]:
    """Groups that are part of nothing but a block."""
    own = set(block.parameters)
    return tuple(
        group.index
        for group in channels.groups
        if own.issuperset(part.parameter for part in group.slices)
    )


def _without(model: Model, names: Sequence[str], samples: Arrays, seed: int) -> Model:
    """The model without some blocks, what is left refitted to the whole model."""
    left = model
    for name in names:
        block = next(block for block in find_blocks(left) if block.name == name)
        left = drop_block(left, block)
    return left.with_parameters(imitate(model, left, samples, seed))
