"""The stages of the main job that work on the board: tune, sample, fit, plan."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tvm_prune.budget import LatencyBudget
from tvm_prune.compilation import Compilation
from tvm_prune.latency import (
    Family,
    LatencyFitter,
    LatencyModel,
    ModelError,
    Widths,
    find_families,
    sample_widths,
)
from tvm_prune.latency.collect import Collector
from tvm_prune.measurement import Measurement
from tvm_prune.planner import ROUNDS, Attempt, Problem, Replanner, candidate_widths
from tvm_prune.progress import Progress
from tvm_prune.session import Session
from tvm_prune.settings import Settings
from tvm_prune.tuning import TuningProgress, TuningReport, tune
from tvm_prune.whole_models import WholeModels

logger = logging.getLogger(__name__)

_MOST_OVERHEAD = 0.1


@dataclass(frozen=True)
class Planned:
    """What planning found.

    Attributes:
        best: the plan to deploy; None where the dense model meets the budget already.
        attempts: every plan that was built and measured.
        dense: measured cost of the dense model.
    """

    best: Attempt | None
    attempts: tuple[Attempt, ...]
    dense: Measurement


@dataclass
class Search:
    """One run on one board; each stage builds on the ones before it.

    Attributes:
        session: the board and what is kept over runs.
        compilation: the model at any widths.
        settings: effort of each stage.
        progress: told where each stage is.
        folder: where compiled models go.
    """

    session: Session
    compilation: Compilation
    settings: Settings
    progress: Progress
    folder: Path
    _problem: Problem | None = None

    def tune(self) -> TuningReport:
        """Find schedules for the dense model's kernels; those in the cache are re-used."""
        calls = self.compilation.kernel_calls(self.compilation.dense)
        weights = Counter(call.workload for call in calls)
        names = {call.workload.key: call.name for call in calls}
        with self.progress.step("tuning the dense kernels", 1) as step:

            def show(state: TuningProgress) -> None:
                best = "" if state.best is None else f", best {state.best * 1e6:.0f} us"
                step.update(
                    state.trials,
                    f"{names[state.key]}, {state.kernel} of {state.kernels}{best}",
                    total=state.planned,
                )

            report = tune(
                dict(weights),
                self.session.target,
                self.session.measurer,
                self.session.database,
                trials_per_kernel=self.settings.trials,
                seed=self.settings.seed,
                on_progress=show,
            )
        failed = sum(failure.count for failure in report.failures)
        self.progress.say(
            f"tuned {len(report.kernels)} kernels in {report.trials} trials, {failed} of which "
            f"failed; {report.reused} kernels were tuned before"
        )
        for failure in report.failures:
            logger.info("%d trials failed at %s: %s", failure.count, failure.stage, failure.cause)
        return report

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """The kernels of the model, each over all widths."""
        return find_families(
            self.compilation.kernel_calls,
            self.compilation.dense,
            self.session.source,
            self.session.target,
        )

    @cached_property
    def models(self) -> WholeModels:
        """Builds and measures whole models."""
        return WholeModels(self.session, self.compilation, self.families, self.folder)

    @cached_property
    def fitter(self) -> LatencyFitter:
        """Learns from the measured kernels."""
        return LatencyFitter(self.families, self.session.measurer.unit, self.settings.seed)

    @cached_property
    def collector(self) -> Collector:
        """Measures kernels at chosen widths."""
        return Collector(
            self.families,
            self.compilation.kernel_calls,
            self.session.measurer,
            self.session.records,
            self.session.board.fingerprint,
            self.session.target,
        )

    def fit(self) -> LatencyModel:
        """Measure the kernels of some pruned models and fit the latency model to them."""
        dense = self.compilation.dense
        choices = [
            dense,
            *itertools.islice(
                sample_widths(self.compilation.limits, self.settings.seed), self.settings.samples
            ),
        ]
        total = len(choices) * len(self.families)
        with self.progress.step("measuring pruned kernels", total) as step:
            for done, widths in enumerate(choices, start=1):
                self._measure_kernels([widths])
                step.update(done * len(self.families), f"pruned model {done} of {len(choices)}")
        model = self.fitter.fit()
        error, collector = model.error, self.collector
        self.progress.say(
            f"latency model from {len(self.fitter.samples)} kernels ({collector.measured} measured "
            f"now, {len(collector.failures)} failed); {_accuracy(error)}"
        )
        return model

    def plan(self, budget: LatencyBudget, margin: float = 1.0) -> Planned:
        """Plan, build and measure until a share `margin` of the budget is met.

        Raises:
            BudgetError: if it cannot be met.
        """
        dense_cost = self.models.dense_cost()
        bound = budget.resolve(dense_cost.median) * margin
        if bound >= dense_cost.median and self.compilation.may_stay_dense:
            return Planned(None, (), dense_cost)
        problem = self._refine([])
        self.progress.say(f"dense model: {_text(dense_cost)}; budget: {bound * 1e3:.3f} ms")
        count = itertools.count(1)
        with self.progress.step("planning, building and measuring", ROUNDS) as step:

            def attempt(widths: Widths) -> Measurement:
                step.update(next(count), f"widths {list(widths)}")
                return self.models.cost(widths)

            scale = dense_cost.median / problem.predicted(self.compilation.dense)
            best, attempts = Replanner(self._refine, attempt, bound, scale).run()
        return Planned(best, tuple(attempts), dense_cost)

    def _measure_kernels(self, choices: Sequence[Widths]) -> bool:
        """Measure kernels at some widths; tells whether anything new was learned."""
        return self.fitter.add(self.collector.collect(choices))

    def _refine(self, choices: list[Widths]) -> Problem:
        """The planning problem after the kernels at these widths were measured."""
        learned = self._measure_kernels(choices)
        if self._problem is None or learned:
            model = self.fitter.fit()
            dense = self.compilation.dense
            self._problem = Problem(
                model,
                dense,
                candidate_widths(model, dense, self.compilation.limits),
                self.compilation.scores,
                overhead=self._overhead(model),
            )
        return self._problem

    def _overhead(self, model: LatencyModel) -> float:
        """What a call of the dense model costs beyond its kernels.

        More than a small share of the kernels is not overhead but a disturbed measurement, which
        the ratio of measured to predicted cost accounts for.
        """
        kernels = model.total(self.compilation.dense)
        beyond = self.models.dense_cost().median - kernels
        return min(max(0.0, beyond), _MOST_OVERHEAD * kernels)


def _accuracy(error: ModelError) -> str:
    if not error.samples:
        return "too few to hold some out and tell its error"
    return (
        f"on {error.samples} held-out ones: mean error {error.mape_percent:.1f} %, "
        f"{error.within_10_percent:.0%} within 10 %"
    )


def _text(cost: Measurement) -> str:
    return f"{cost.median * 1e3:.3f} ms (spread {cost.spread:.1%})"
