"""The main job, from a trained model to a bundle that meets its budget on the board."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tvm_prune.board import Board, load_board
from tvm_prune.budget import LatencyBudget
from tvm_prune.channels import Channels, find_channels, width_limits
from tvm_prune.compilation import Compilation
from tvm_prune.errors import BudgetError, ModelError
from tvm_prune.importance import Context, score_units
from tvm_prune.latency import LatencyModel
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model, bound_inputs
from tvm_prune.plan import PruningPlan
from tvm_prune.progress import Progress, Silent
from tvm_prune.recover import reconstruct
from tvm_prune.result import PruneResult
from tvm_prune.search import Planned, Search
from tvm_prune.session import open_session
from tvm_prune.settings import Settings
from tvm_prune.transform import masked_model, prune_parameters
from tvm_prune.tuning import TuningReport
from tvm_prune.verification import Verification, accuracy, labelled, verify

Arrays = Mapping[str, NDArray[Any]]

MARGINS = (1.0, 0.97, 0.94)
"""Shares of the budget to plan for, one after the other, until the final measurement meets it."""


def prune(
    model: Model,
    board: str | Board = "host",
    *,
    latency: str | float | LatencyBudget,
    calibration: Arrays,
    evaluation: Arrays | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """Prune a model to a latency budget, as measured on a board.

    Args:
        model: the trained model, from :func:`tvm_prune.load`.
        board: name of a board, path of a board file, or a board.
        latency: bound on the latency of one call: ``"8ms"``, ``"0.5x"`` of the dense model's, or
            seconds.
        calibration: samples stacked along the first axis, by input name.
        evaluation: labelled samples (``label``) to tell the accuracy before and after.
        settings: effort, criterion, seed and cache.
        progress: receives the steps of the run.

    Raises:
        BudgetError: if the budget cannot be met; names the closest feasible plan.
        PruneError: any other error of this package, in one sentence each.
    """
    board = board if isinstance(board, Board) else load_board(board)
    budget = latency if isinstance(latency, LatencyBudget) else LatencyBudget.parse(latency)
    settings, progress = settings or Settings(), progress or Silent()
    calibration = bound_inputs(model.inputs, calibration, batch=True)
    evaluation = labelled(model.inputs, evaluation) if evaluation is not None else None
    channels = _prunable_channels(model, settings)
    limits = width_limits(channels, settings.max_sparsity, settings.bounds)
    scores = score_units(Context(channels, model.parameters, settings.seed), settings.criterion)
    with (
        open_session(board, settings.cache) as session,
        tempfile.TemporaryDirectory(prefix="tvm-prune-") as folder,
    ):
        compilation = Compilation(model, channels, scores, limits, session.target)
        search = Search(session, compilation, settings, progress, Path(folder))
        tuning = search.tune()
        latency_model = search.fit()
        for margin in MARGINS:
            planned = search.plan(budget, margin)
            deployed = _deploy(search, planned, calibration)
            unpruned_is_enough = planned.best is None and budget.ratio is not None
            if unpruned_is_enough or _within(budget, deployed):
                return _result(search, planned, deployed, tuning, latency_model, budget, evaluation)
            progress.say("the final measurement missed the budget; planning with a margin")
            if planned.best is not None:
                search.models.learn(
                    planned.best.solution.widths, deployed.dense_latency, deployed.latency
                )
    raise BudgetError(
        f"Every plan for the budget {budget} missed it when it was measured again: the last one "
        f"needed {deployed.latency.median:.4g} {deployed.latency.unit}, the dense model "
        f"{deployed.dense_latency.median:.4g}. Allow more, or measure on a quieter machine."
    )


def _prunable_channels(model: Model, settings: Settings) -> Channels:
    channels = find_channels(model.module, attention=settings.attention, keep=settings.keep)
    if not channels.groups:
        raise ModelError(
            f"The model '{model.name}' has no channels that can be pruned; "
            "`tvm-prune inspect` shows what freezes them."
        )
    return channels


@dataclass(frozen=True)
class _Deployed:
    """The chosen plan as it is delivered."""

    plan: PruningPlan
    model: Model
    library: Path
    verification: Verification
    dense_latency: Measurement
    latency: Measurement


def _within(budget: LatencyBudget, deployed: _Deployed) -> bool:
    return deployed.latency.median <= budget.resolve(deployed.dense_latency.median)


def _deploy(search: Search, planned: Planned, calibration: Arrays) -> _Deployed:
    """Recover, compile, verify and measure the chosen plan."""
    compilation, dense = search.compilation, search.compilation.model
    widths = planned.best.solution.widths if planned.best else compilation.dense
    plan = compilation.plan(widths)
    with search.progress.step("recovering, compiling and verifying", 3) as step:
        values = prune_parameters(dense.parameters, plan)
        if search.settings.recover and plan.kept:
            values = reconstruct(dense, plan, calibration, search.settings.seed)
        step.update(1, "compiling")
        model = compilation.pruned(plan, values)
        library = search.folder / "deployed.so"
        compilation.build(model, search.families, library)
        step.update(2, "verifying")
        references = {
            "zero-masked dense model": masked_model(dense, plan, values),
            "pruned model": model,
        }
        verification = verify(library, references, calibration)
        dense_latency, latency = search.models.measure(
            [search.models.build(compilation.dense), library]
        )
        step.update(3)
    return _Deployed(plan, model, library, verification, dense_latency, latency)


def _result(
    search: Search,
    planned: Planned,
    deployed: _Deployed,
    tuning: TuningReport,
    latency_model: LatencyModel,
    budget: LatencyBudget,
    evaluation: Arrays | None,
) -> PruneResult:
    """Evaluate the deployed model, and gather everything that was measured."""
    dense, dense_library = search.compilation.model, search.models.build(search.compilation.dense)
    best = planned.best
    return PruneResult(
        model=deployed.model,
        plan=deployed.plan,
        board=search.session.board,
        budget=str(budget),
        dense_latency=deployed.dense_latency,
        latency=deployed.latency,
        predicted=best.predicted if best else planned.dense.median,
        dense_accuracy=accuracy(dense_library, dense.inputs, evaluation)
        if evaluation is not None
        else None,
        accuracy=accuracy(deployed.library, dense.inputs, evaluation)
        if evaluation is not None
        else None,
        dense_parameters=dense.parameter_count,
        importance_kept=best.solution.importance if best else 1.0,
        model_error=latency_model.error,
        verification=deployed.verification,
        tuning=tuning,
        attempts=tuple((a.predicted, a.measured.median) for a in planned.attempts),
        library=deployed.library.read_bytes(),
    )
