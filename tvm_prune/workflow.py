"""The main job, from a trained model to a bundle that meets its budget on the board."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tvm_prune.board import Board, load_board
from tvm_prune.budget import LatencyBudget
from tvm_prune.channels import Channels, find_channels
from tvm_prune.compilation import Compilation
from tvm_prune.errors import ModelError
from tvm_prune.importance import Context, score_units
from tvm_prune.latency import LatencyModel
from tvm_prune.model import Model, bound_inputs
from tvm_prune.progress import Progress, Silent
from tvm_prune.result import PruneResult
from tvm_prune.search import Planned, Search
from tvm_prune.session import open_session
from tvm_prune.settings import Settings
from tvm_prune.transform import mask_parameters
from tvm_prune.tuning import TuningReport
from tvm_prune.verification import accuracy, verify

Arrays = Mapping[str, NDArray[Any]]


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
    channels = _prunable_channels(model)
    scores = score_units(Context(channels, model.parameters, settings.seed), settings.criterion)
    with (
        open_session(board, settings.cache) as session,
        tempfile.TemporaryDirectory(prefix="tvm-prune-") as folder,
    ):
        compilation = Compilation(model, channels, scores, session.target)
        search = Search(session, compilation, settings, progress, Path(folder))
        tuning = search.tune()
        latency_model = search.fit()
        planned = search.plan(budget)
        return _finish(search, planned, tuning, latency_model, budget, calibration, evaluation)


def _prunable_channels(model: Model) -> Channels:
    channels = find_channels(model.module)
    if not channels.groups:
        raise ModelError(
            f"The model '{model.name}' has no channels that can be pruned; "
            "`tvm-prune inspect` shows what freezes them."
        )
    return channels


def _finish(
    search: Search,
    planned: Planned,
    tuning: TuningReport,
    latency_model: LatencyModel,
    budget: LatencyBudget,
    calibration: Arrays,
    evaluation: Arrays | None,
) -> PruneResult:
    """Verify the chosen plan, evaluate it, and gather everything that was measured."""
    compilation, dense = search.compilation, search.compilation.dense
    widths = planned.best.solution.widths if planned.best else dense
    plan = compilation.plan(widths)
    pruned = compilation.pruned(plan)
    library = search.build(widths)
    masked = mask_parameters(compilation.model.parameters, plan)
    verification = verify(library, compilation.model, masked, calibration)
    dense_latency, latency = search.measure_models([dense, widths])
    specs = compilation.model.inputs
    return PruneResult(
        model=pruned,
        plan=plan,
        board=search.session.board,
        budget=str(budget),
        dense_latency=dense_latency,
        latency=latency,
        predicted=planned.best.predicted if planned.best else dense_latency.median,
        dense_accuracy=accuracy(search.build(dense), specs, evaluation) if evaluation else None,
        accuracy=accuracy(library, specs, evaluation) if evaluation else None,
        dense_parameters=compilation.model.parameter_count,
        importance_kept=planned.best.solution.importance if planned.best else 1.0,
        model_error=latency_model.error,
        verification=verification,
        tuning=tuning,
        attempts=tuple((a.predicted, a.measured.median) for a in planned.attempts),
        library=library.read_bytes(),
    )
