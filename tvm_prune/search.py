"""The stages of the main job that work on the board: tune, sample, fit, plan."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tvm_prune.budget import Budgets
from tvm_prune.compilation import Compilation
from tvm_prune.errors import BudgetError
from tvm_prune.latency import (
    MOST_MEASUREMENTS,
    Collector,
    Effort,
    Family,
    LatencyFitter,
    LatencyModel,
    Widths,
    find_families,
)
from tvm_prune.learning import Learning
from tvm_prune.measurement import Measurement
from tvm_prune.memory import MemoryCounts, memory_counts
from tvm_prune.planner import (
    CHALLENGES,
    COUNTS,
    IMPROVEMENTS,
    ROUNDS,
    Attempt,
    ByWork,
    Ceiling,
    Count,
    Planned,
    Problem,
    Removal,
    Replanner,
    candidate_widths,
    plan_and_confirm,
    solve,
)
from tvm_prune.progress import Progress
from tvm_prune.session import Session
from tvm_prune.settings import Settings
from tvm_prune.tuning import TuningProgress, TuningReport, tune
from tvm_prune.units import EXACT, cost_text, kernel_cost_text
from tvm_prune.whole_models import WholeModels

logger = logging.getLogger(__name__)


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
    _problems: dict[bool, Problem] = field(default_factory=dict)
    _known: dict[Widths, float] = field(default_factory=dict)

    def tune(self) -> TuningReport:
        """Find schedules for the dense model's kernels; those in the cache are re-used."""
        calls = self.compilation.kernel_calls(self.compilation.dense)
        weights = Counter(call.workload for call in calls)
        names = {call.workload.key: call.name for call in calls}
        with self.progress.step("tuning the dense kernels", 1) as step:

            def show(state: TuningProgress) -> None:
                where = f"{names[state.key]}, {state.kernel} of {state.kernels}"
                if state.best is not None:
                    where += f", best {kernel_cost_text(state.best, state.unit)}"
                step.update(state.trials, where, total=state.planned)

            report = tune(
                dict(weights), self.session.target, self.session.measurer, self.session.database,
                trials_per_kernel=self.settings.trials, seed=self.settings.seed,
                library=self.session.seeds, on_progress=show,
            )  # fmt: skip
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
        return WholeModels(
            self.session, self.compilation, self.families, self.folder, self.collector.contest
        )

    @cached_property
    def fitter(self) -> LatencyFitter:
        """Learns from the measured kernels."""
        return LatencyFitter(self.families, self.session.measurer.unit, self.settings.seed)

    @cached_property
    def collector(self) -> Collector:
        """Measures kernels at chosen widths."""
        return Collector(
            self.families,
            self.session.measurer,
            self.session.records,
            self.session.board.fingerprint,
            self.session.target,
        )

    @cached_property
    def learning(self) -> Learning:
        """Measures what the latency model needs, and fits it."""
        return Learning(
            self.session,
            self.compilation,
            self.settings,
            self.fitter,
            self.collector,
            self.progress,
        )

    def fit(self, effort: Effort | None = None) -> LatencyModel:
        """Measure the kernels that the latency model needs most, and fit it to them.

        Args:
            effort: when to stop; by default as many kernels as the settings' number of pruned
                models has, twice as many where an exact clock needs no repeats, and 1,500 at most.
        """
        kernels = (self.settings.samples + 1) * len(self.families)
        if self.session.measurer.unit in EXACT:
            kernels *= 2
        return self.learning.run(effort or Effort(min(kernels, MOST_MEASUREMENTS)))

    @cached_property
    def counts(self) -> Mapping[str, Count]:
        """What can be counted of the model at any widths, by name of the budget."""
        model, channels = self.compilation.model, self.compilation.channels
        return {name: count(model, channels) for name, count in COUNTS.items()}

    @cached_property
    def memory(self) -> MemoryCounts:
        """Flash and RAM of the firmware at any widths."""
        fastest = self.collector.contest.fastest
        return memory_counts(self.compilation, self.families, self.models.dense_memory(), fastest)

    def dense_costs(self) -> dict[str, float]:
        """What the dense model costs, by name of the budget."""
        counts = {name: count.at(self.compilation.dense) for name, count in self.counts.items()}
        memory = self.models.dense_memory()
        return {"latency": self.models.dense_cost().median, **counts, **memory}

    def plan(self, budgets: Budgets, margins: Mapping[str, float] | None = None) -> Planned:
        """Plan, build and measure until all budgets are met, and the dense model's latency is.

        Args:
            budgets: what the pruned model may cost.
            margins: shares of the bounds to plan for where it is not all of them, by quantity.

        Raises:
            BudgetError: if they cannot be met.
        """
        margins, dense_cost, dense = margins or {}, self.models.dense_cost(), self.dense_costs()
        bounds = {
            name: bound * margins.get(name, 1.0) for name, bound in budgets.bounds(dense).items()
        }
        meets = all(dense[name] <= bound for name, bound in bounds.items())
        if meets and self.compilation.may_stay_dense:
            return Planned((), (), dense_cost)
        ceilings = self._ceilings(bounds)
        self.models.room = self.memory.room(bounds["ram"]) if "ram" in bounds else None
        latency = budgets.limits(dense)["latency"] * margins.get("latency", 1.0)
        aims = [
            cost_text(latency, dense_cost.unit),
            *(f"{most.most:,.0f} {most.name}" for most in ceilings),
        ]
        self.progress.say(f"dense model: {_text(dense_cost)}; budget: {', '.join(aims)}")
        called = "latency budget" if bounds.get("latency") == latency else "dense model's latency"

        def attempted(share: float) -> list[Attempt]:
            bound = called if share == 1.0 else f"{called}, less {1.0 - share:.0%},"
            return self._replan(share * latency, ceilings, bound)

        found = plan_and_confirm(attempted, latency, dense_cost, self._measured_again)
        if found.within:
            return found
        raise BudgetError(
            f"Every plan for the {called} of {cost_text(latency, dense_cost.unit)} was above it "
            "when it was measured again. Allow more, or measure on a quieter machine."
        )

    def use(self, compilation: Compilation) -> None:
        """Go by the scores and limits of another compilation of the same model from now on."""
        self.compilation = compilation
        self.models.room = None
        self._problems.clear()

    def predicted_widths(
        self, bounds: Mapping[str, float], removals: Sequence[Removal] = (), most_removed: int = 0
    ) -> Widths:
        """The widths that are predicted to meet bounds; no plan is built or measured.

        Args:
            bounds: amounts by quantity.
            removals: layers that may go; their groups then have the width zero.
            most_removed: how many of them may.

        Raises:
            BudgetError: if there are none.
        """
        dense = self.models.dense_cost().median
        problem = self._refine([], self._ceilings(bounds))
        most = self._to_predict(problem, min(bounds.get("latency", dense), dense))
        return solve(problem.with_removals(removals, most_removed), most).widths

    def _ceilings(self, bounds: Mapping[str, float]) -> tuple[Ceiling, ...]:
        counted = tuple(Ceiling(n, c, bounds[n]) for n, c in self.counts.items() if n in bounds)
        if "flash" in bounds or "ram" in bounds:
            return (*counted, *self.memory.ceilings(bounds))
        return counted

    def _replan(self, latency: float, ceilings: tuple[Ceiling, ...], bound: str) -> list[Attempt]:
        """Plan, build, measure and correct within a latency, which is called `bound` in errors."""
        count, work, limits = itertools.count(1), self.counts["macs"], self.compilation.limits
        challengers = ByWork.at_multiples(work, limits), ByWork.at_any_width(work, limits)
        most = ROUNDS + len(challengers) * CHALLENGES + IMPROVEMENTS
        with self.progress.step("planning, building and measuring", most) as step:

            def refine(choices: list[Widths]) -> Problem:
                return self._refine(choices, ceilings)

            def attempt(widths: Widths) -> Measurement:
                step.update(next(count), f"widths {list(widths)}")
                return self.models.cost(widths)

            scale = latency / self._to_predict(refine([]), latency)
            return Replanner(refine, attempt, latency, scale, bound, challengers).run()[1]

    def _measured_again(self, choices: Sequence[Widths]) -> list[Measurement]:
        with self.progress.step("measuring the best plans again", len(choices)) as step:
            costs = self.models.measured_again(choices)
            step.update(len(choices))
        return costs

    def _to_predict(self, problem: Problem, cost: float) -> float:
        """What has to be predicted for a model, so that this cost is to be expected."""
        return self.models.correction(problem.predicted).predicted_for(cost)

    def _measure_kernels(self, choices: Sequence[Widths]) -> bool:
        """Measure kernels at some widths; tells whether anything new was learned."""
        return self.fitter.add(self.collector.collect(choices))

    def _refine(self, choices: list[Widths], ceilings: tuple[Ceiling, ...]) -> Problem:
        """The planning problem after the kernels at these widths were measured."""
        if self._measure_kernels(choices) or self._known != self.models.telling:
            self._problems.clear()
        counted = bool(ceilings)
        if counted not in self._problems:
            self._measure_kernels(self.models.references)
            model, dense = self.models.in_models(self.fitter.fit()), self.compilation.dense
            self._known = self.models.telling
            self._problems[counted] = Problem(
                model,
                dense,
                candidate_widths(model, dense, self.compilation.limits, spread=counted),
                self.compilation.scores,
                overhead=model.overhead,
                curves=self.compilation.shares,
            )
        return replace(self._problems[counted], ceilings=ceilings)


def _text(cost: Measurement) -> str:
    return f"{cost_text(cost.median, cost.unit)} (spread {cost.spread:.1%})"
