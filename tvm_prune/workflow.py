"""The main job, from a trained model to a bundle that meets its budgets on the board."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tvm_prune.board import Board
from tvm_prune.board_choice import chosen_board
from tvm_prune.budget import Budget, Budgets
from tvm_prune.compilation import Compilation
from tvm_prune.delivery import deliver, plan_first
from tvm_prune.deployment import Deployed
from tvm_prune.export import files_below
from tvm_prune.iteration import Journey, check_settings, checked_accuracy, is_accurate, looser
from tvm_prune.latency import ModelError as LatencyModelError
from tvm_prune.model import Model, bound_inputs
from tvm_prune.planner import Planned
from tvm_prune.progress import Progress, Silent
from tvm_prune.result import PruneResult
from tvm_prune.scoring import prunable_channels, score
from tvm_prune.search import Search
from tvm_prune.session import open_session
from tvm_prune.settings import Settings
from tvm_prune.tuning import TuningReport
from tvm_prune.verification import accuracy, labelled, reference_accuracy

Arrays = Mapping[str, NDArray[Any]]

LOOSENINGS = 4
"""How often budgets that the accuracy decides are loosened for a model that lost too much."""


def prune(
    model: Model,
    board: str | Board = "host",
    *,
    latency: str | float | Budget | None = None,
    parameters: str | float | Budget | None = None,
    macs: str | float | Budget | None = None,
    flash: str | float | Budget | None = None,
    ram: str | float | Budget | None = None,
    calibration: Arrays,
    evaluation: Arrays | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """Prune a model to budgets, its latency as measured on a board.

    Whatever the budgets, the result is never slower than the dense model.

    Args:
        model: the trained model, from :func:`tvm_prune.load`.
        board: name of a board, path of a board file, or a board.
        latency: bound on the latency of one call: ``"8ms"``, ``"0.5x"`` of the dense model's, or a
            number in the unit that the board measures in.
        parameters: bound on the number of scalar weights: ``"120k"``, ``"0.5x"``, or a number.
        macs: bound on the multiply-accumulates of one call, likewise.
        flash: bound on the flash of a microcontroller's firmware: ``"256KB"``, ``"0.5x"``, bytes.
        ram: bound on its RAM, likewise.
        calibration: samples stacked along the first axis, by input name.
        evaluation: labelled samples (``label``) to tell the accuracy before and after.
        settings: effort, criterion, seed and cache.
        progress: receives the steps of the run.

    Raises:
        BudgetError: if no budget is given, or they cannot be met; names the closest feasible plan.
        PruneError: any other error of this package, in one sentence each.
    """
    chosen = settings or Settings()
    given = {
        "latency": latency, "parameters": parameters, "macs": macs, "flash": flash, "ram": ram
    }  # fmt: skip
    is_free = chosen.has_threshold or chosen.objective == "accuracy"
    asked = any(budget is not None for budget in given.values())
    budgets = Budgets.parse(**given) if asked or not is_free else Budgets(())
    board = chosen_board(board, chosen.clock)
    budgets.check(board.name, board.unit, board.is_microcontroller)
    with started(
        model,
        board,
        calibration=calibration,
        evaluation=evaluation,
        settings=settings,
        progress=progress,
    ) as run:
        return run.prune(budgets)


@contextmanager
def started(
    model: Model,
    board: str | Board,
    *,
    calibration: Arrays,
    evaluation: Arrays | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Iterator[Run]:
    """A run whose kernels are tuned and whose latency model is fitted.

    The arguments are those of :func:`prune`; what is wrong with them is told before the long work
    begins.

    Raises:
        PruneError: any error of this package.
    """
    settings = settings or Settings()
    check_settings(settings, evaluation is not None)
    calibration = bound_inputs(model.inputs, calibration, batch=True)
    evaluation = labelled(model.inputs, evaluation) if evaluation is not None else None
    with opened(model, board, settings, progress or Silent(), calibration) as search:
        tuning = search.tune()
        latency_model = search.fit()
        yield Run(search, tuning, latency_model.error, calibration, evaluation)


@contextmanager
def opened(
    model: Model,
    board: str | Board,
    settings: Settings,
    progress: Progress,
    calibration: Arrays | None = None,
) -> Iterator[Search]:
    """A model on a board, of which nothing is tuned or measured yet.

    Args:
        model: the trained model.
        board: name of a board, path of a board file, or a board.
        settings: effort, criterion, seed and cache.
        progress: receives the steps of the run.
        calibration: samples to score units with; None where no plan will be delivered.

    Raises:
        PruneError: if nothing of the model can be pruned, or the board cannot be reached.
    """
    board = chosen_board(board, settings.clock)
    channels = prunable_channels(model, settings)
    with (
        open_session(
            board, settings.cache, executor=settings.executor, tracker=settings.tracker
        ) as session,
        tempfile.TemporaryDirectory(prefix="tvm-prune-") as folder,
    ):
        scoring = score(model, channels, calibration, settings, progress)
        compilation = Compilation(
            model,
            channels,
            scoring.scores,
            scoring.limits,
            session.target,
            board.linker,
            scoring.shares,
            board,
        )
        yield Search(session, compilation, settings, progress, Path(folder))


@dataclass(frozen=True)
class Run:
    """A model on a board, ready to be pruned to any budgets.

    Attributes:
        search: plans on the board; every measurement it makes serves all budgets.
        tuning: what tuning did.
        model_error: accuracy of the latency model.
        calibration: samples stacked along the first axis, by input name.
        evaluation: labelled samples, or None.
    """

    search: Search
    tuning: TuningReport
    model_error: LatencyModelError
    calibration: Arrays
    evaluation: Arrays | None

    def prune(self, budgets: Budgets) -> PruneResult:
        """The most important part of the model that meets the budgets as it is delivered.

        Raises:
            BudgetError: if they cannot be met.
        """
        settings, compilation = self.search.settings, self.search.compilation
        journey = Journey(self.search, self.calibration, self.evaluation)
        try:
            if settings.objective == "accuracy":
                budgets = journey.fastest(budgets)
            if settings.steps > 1:
                budgets = journey.in_steps(budgets)
            may_loosen = settings.objective == "accuracy" or settings.steps > 1
            for _ in range(LOOSENINGS if may_loosen else 0):
                result = self._delivered(budgets)
                if is_accurate(result, settings):
                    return result
                budgets = looser(budgets, self.search.dense_costs())
                self.search.progress.say(f"the delivered model lost too much; trying {budgets}")
            return checked_accuracy(self._delivered(budgets), settings)
        finally:
            self.search.use(compilation)

    def planned(self, budgets: Budgets) -> Planned:
        """Plans that were measured within the budgets, the one to deliver first.

        Raises:
            BudgetError: if the budgets cannot be met.
        """
        return plan_first(self.search, budgets, self.calibration)

    def _delivered(self, budgets: Budgets) -> PruneResult:
        delivery = deliver(self.search, budgets, self.calibration)
        return self._result(delivery.planned, delivery.deployed, budgets)

    @cached_property
    def dense_accuracy(self) -> float | None:
        """Accuracy of the dense model, 0..1, where labelled data was given."""
        compilation = self.search.compilation
        return self.accuracy_of(self.search.models.build(compilation.dense), compilation.model)

    def accuracy_of(self, library: Path, model: Model) -> float | None:
        """Accuracy of a compiled model, 0..1, where labelled data was given.

        What an emulated board or a microcontroller would need hours for is told by ONNX Runtime,
        whose outputs the library was verified to have.
        """
        if self.evaluation is None:
            return None
        session = self.search.session
        if session.board.is_slow:
            return reference_accuracy(model, self.evaluation)
        return accuracy(library, model.inputs, self.evaluation, session.measurer)

    def _result(self, planned: Planned, deployed: Deployed, budgets: Budgets) -> PruneResult:
        """Evaluate the deployed model, and gather everything that was measured."""
        best, dense_costs = planned.best, self.search.dense_costs()
        drift = deployed.dense_latency.median / planned.dense.median
        return PruneResult(
            model=deployed.model,
            plan=deployed.plan,
            board=self.search.session.board,
            budget=str(budgets),
            dense_latency=deployed.dense_latency,
            latency=deployed.latency,
            predicted=(best.predicted if best else planned.dense.median) * drift,
            dense_accuracy=self.dense_accuracy,
            accuracy=self.accuracy_of(deployed.library, deployed.model),
            dense_parameters=int(dense_costs["parameters"]),
            dense_macs=int(dense_costs["macs"]),
            importance_kept=best.solution.importance if best else 1.0,
            gap=best.solution.gap if best else 0.0,
            model_error=self.model_error,
            verification=deployed.verification,
            tuning=self.tuning,
            attempts=tuple((a.predicted, a.measured.median) for a in planned.attempts),
            library=deployed.library.read_bytes(),
            project=files_below(deployed.library.with_suffix("")),
            dense_memory={name: dense_costs[name] for name in deployed.memory},
            memory=deployed.memory,
        )
