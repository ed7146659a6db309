"""The stage that learns what kernels cost; it goes on where an earlier run ended."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tvm_prune.compilation import Compilation
from tvm_prune.errors import BudgetError, MeasureError
from tvm_prune.latency import (
    ActiveSampler,
    Collector,
    Effort,
    Kernel,
    LatencyFitter,
    LatencyModel,
    ModelError,
    kernels_at,
    load_model,
    names_of,
    save_model,
)
from tvm_prune.planner import Problem, candidate_widths, solve
from tvm_prune.progress import Progress
from tvm_prune.session import Session
from tvm_prune.settings import Settings

logger = logging.getLogger(__name__)

_RATIOS = (0.75, 0.5, 0.35)
"""Shares of the dense model's predicted cost for which the kernels of a plan are measured."""


@dataclass
class Learning:
    """Learns the costs of a model's kernels.

    Attributes:
        session: the board and what is kept over runs.
        compilation: the model at any widths.
        settings: its seed and cache.
        fitter: learns from the measured kernels.
        collector: measures kernels.
        progress: told where it is.
    """

    session: Session
    compilation: Compilation
    settings: Settings
    fitter: LatencyFitter
    collector: Collector
    progress: Progress
    _ratios: Iterator[float] = field(default_factory=lambda: itertools.cycle(_RATIOS))

    @property
    def path(self) -> Path:
        """File of the model for these kernels on this board."""
        names = json.dumps(names_of(self.fitter.families))
        digest = hashlib.sha256(names.encode()).hexdigest()
        folder = self.settings.cache / self.session.board.fingerprint
        return folder / f"latency-{digest[:16]}.json"

    def run(self, effort: Effort) -> LatencyModel:
        """Measure the kernels that the model needs most, fit it and write it to the cache.

        Raises:
            MeasureError: if a dense kernel cannot be measured.
        """
        self._recall()
        with self.progress.step("measuring pruned kernels", effort.measurements) as step:
            model = ActiveSampler(
                self.fitter.families,
                self.compilation.limits,
                self.collector,
                self.fitter,
                effort,
                self.settings.seed,
                lambda done, total, detail: step.update(min(done, total), detail),
                self._planned,
            ).run()
        save_model(model, self.path, self.session.board.fingerprint)
        self.progress.say(
            f"latency model from {len(self.fitter.samples)} kernels "
            f"({self.collector.measured} measured now, {len(self.collector.failures)} failed); "
            f"{_accuracy(model.error)}"
        )
        return model

    def _recall(self) -> None:
        """Know what an earlier run learned, where its measurements are still there."""
        if not self.path.exists():
            return
        try:
            model = load_model(self.path, self.fitter.families, self.session.board.fingerprint)
        except MeasureError as error:
            logger.warning("%s It is made anew.", error)
            return
        kernels = [Kernel(family, widths) for family, widths in model.measured]
        if not all(map(self.collector.is_known, kernels)):
            logger.info("%s is older than the measurements and is made anew", self.path)
            return
        self.fitter.add(self.collector.collect_kernels(kernels))
        self.fitter.tell(model.error)

    def _planned(self, model: LatencyModel) -> list[Kernel]:
        """Kernels of a plan that may be best for some latency, another one each time."""
        model, dense = model.hopeful(), self.compilation.dense
        problem = Problem(
            model,
            dense,
            candidate_widths(model, dense, self.compilation.limits),
            self.compilation.scores,
            overhead=0.0,
            curves=self.compilation.shares,
        )
        try:
            solution = solve(problem, next(self._ratios) * problem.predicted(dense))
        except BudgetError:
            return []
        return kernels_at(model.families, solution.widths)


def _accuracy(error: ModelError) -> str:
    if not error.samples:
        return "too few to hold some out and tell its error"
    told = (
        f"on {error.samples} held-out ones: mean error {error.mape_percent:.1f} %, "
        f"{error.within_10_percent:.0%} within 10 %"
    )
    if np.isfinite(error.within_interval):
        return f"{told}, {error.within_interval:.0%} inside their intervals"
    return told
