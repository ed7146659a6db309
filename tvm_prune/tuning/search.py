"""Tune kernels: MetaSchedule proposes schedules, a board measures them, a database keeps them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm.target import Target

from tvm_prune.interrupts import interrupts_held_back
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer, is_lost, raise_if_lost
from tvm_prune.tuning.candidates import (
    SearchSettings,
    cost_model,
    evolution,
    first_candidates,
    has_tiles,
)
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.database import count_trials
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.library import TraceLibrary
from tvm_prune.tuning.metaschedule import run_seconds, runner_result
from tvm_prune.tuning.report import (
    FailureCount,
    KernelReport,
    Seconds,
    TuningProgress,
    TuningReport,
    count_failures,
)

_LOG = logging.getLogger(__name__)

_SEEDS = 2**31 - 2
_FAILED = 1e10
"""Seconds that MetaSchedule takes for: could not be measured."""


def tune(
    workloads: Mapping[Workload, float],
    target: Target,
    measurer: Measurer,
    database: Any,
    *,
    trials_per_kernel: int = 64,
    seed: int = 0,
    settings: SearchSettings | None = None,
    library: TraceLibrary | None = None,
    on_progress: Callable[[TuningProgress], None] | None = None,
) -> TuningReport:
    """Search good schedules for kernels and add every trial to `database`.

    Kernels that have their trials in the database are skipped, so an interrupted run continues
    where it stopped: what was measured, up to the last complete round, is kept. Kernels without
    loops to tile (pooling, element-wise) get a handful of trials. The first trials of a kernel are
    its :func:`~tvm_prune.tuning.default.default_schedule` and what `library` offers, so tuning
    never ends below them, and the search goes on from there. The evolutionary search is not
    repeatable, whatever the seed.

    Args:
        workloads: kernels, and how often each is called; the costliest ones are tuned first.
        target: what to compile for.
        measurer: builds and measures candidates.
        database: from :func:`~tvm_prune.tuning.database.open_database`.
        trials_per_kernel: candidates to build and measure per kernel, earlier runs included.
        seed: start of the random numbers.
        settings: knobs of the search.
        library: tuned traces of other kernels.
        on_progress: called after every round of measurements.

    Returns:
        Trials, failures by cause and seconds of this run. A kernel of which every trial failed
        has no `best`.
    """
    session = _Session(
        target, measurer, database, settings or SearchSettings(), library or TraceLibrary()
    )
    done = count_trials(database, target)
    ordered = sorted(workloads, key=lambda w: (-workloads[w] * _operations(w), w.key))
    kernels = [
        kernel
        for position, workload in enumerate(ordered)
        if (
            kernel := session.plan(workload, trials_per_kernel, done[workload.key], seed + position)
        )
    ]
    for position, kernel in enumerate(kernels):
        for _ in session.rounds(kernel):
            if on_progress is not None:
                on_progress(_progress(kernels, position, measurer.unit))
        _log_failures(kernel)
    return TuningReport(
        tuple(_report(kernel, measurer.unit) for kernel in kernels),
        reused=len(ordered) - len(kernels),
    )


@dataclass
class _Kernel:
    """The tuning of one kernel while it goes on."""

    workload: Workload
    done_before: int
    planned: int
    context: Any
    designs: Sequence[Any]
    outcomes: list[Measurement | Failure] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    @property
    def best(self) -> float | None:
        measured = [o.median for o in self.outcomes if isinstance(o, Measurement)]
        return min(measured, default=None)

    @property
    def failures(self) -> tuple[FailureCount, ...]:
        failed = [o for o in self.outcomes if isinstance(o, Failure)]
        return count_failures([FailureCount(o.stage, o.cause, 1) for o in failed])


class _Session:
    """What all kernels of one run share."""

    def __init__(
        self,
        target: Target,
        measurer: Measurer,
        database: Any,
        settings: SearchSettings,
        library: TraceLibrary,
    ) -> None:
        self.target = target
        self.measurer = measurer
        self.database = database
        self.settings = settings
        self.library = library
        self.threads = int(target.attrs.get("num-cores", 1))
        self.cost_model = cost_model(settings)

    def plan(self, workload: Workload, trials: int, done: int, seed: int) -> _Kernel | None:
        """Prepare the search for a kernel, or None where `done` trials are enough already."""
        if done >= trials:
            return None
        context = tune_context(
            workload.mod, self.target, seed=1 + seed % _SEEDS, threads=self.threads
        )
        designs = context.generate_design_space()
        if not any(has_tiles(design.trace) for design in designs):
            trials = min(trials, self.settings.trials_without_tiles)
        else:
            context = tune_context(
                workload.mod,
                self.target,
                search_strategy=evolution(self.settings),
                seed=1 + seed % _SEEDS,
                threads=self.threads,
            )
        if done >= trials:
            return None
        return _Kernel(workload, done, trials - done, context, designs)

    def rounds(self, kernel: _Kernel) -> Iterator[None]:
        """Tune a kernel, one round of measurements per step."""
        if kernel.done_before == 0:
            yield from self._first_round(kernel)
        remaining = kernel.planned - len(kernel.outcomes)
        if remaining <= 0:
            return
        kernel.context.pre_tuning(
            remaining,
            self.settings.trials_per_round,
            kernel.designs,
            self.database,
            self.cost_model,
        )
        try:
            while candidates := self._generate(kernel):
                results = self._measure(kernel, candidates)
                kernel.context.notify_runner_results(candidates, results)
                yield
        finally:
            kernel.context.post_tuning()

    def _first_round(self, kernel: _Kernel) -> Iterator[None]:
        """Measure the schedules that need no search, where there are any."""
        most = min(self.settings.transferred, kernel.planned)
        candidates = first_candidates(kernel.workload, self.target, self.library, most)
        if candidates:
            self._measure(kernel, candidates)
            yield

    def _generate(self, kernel: _Kernel) -> Sequence[Any] | None:
        """The next candidates; None when the trials are used up or the space is exhausted."""
        start = time.perf_counter()
        candidates: Sequence[Any] | None
        with interrupts_held_back():
            candidates = kernel.context.generate_measure_candidates()
        kernel.seconds += Seconds(search=time.perf_counter() - start)
        return candidates

    def _measure(self, kernel: _Kernel, candidates: Sequence[Any]) -> list[Any]:
        """Build and run candidates, keep what came out, and let the cost model learn from it."""
        started = time.perf_counter()
        built = self.measurer.build([candidate.sch.mod for candidate in candidates])
        building = time.perf_counter()
        outcomes = _run(self.measurer, built)
        running = time.perf_counter()
        results = [runner_result(outcome) for outcome in outcomes]
        with interrupts_held_back():
            for candidate, outcome in zip(candidates, outcomes, strict=True):
                if not is_lost(outcome):
                    self._commit(kernel.workload, candidate, outcome)
            raise_if_lost(outcomes)
            self.cost_model.update(kernel.context, candidates, results)
        kernel.outcomes.extend(outcomes)
        kernel.seconds += Seconds(
            search=time.perf_counter() - running, build=building - started, run=running - building
        )
        return results

    def _commit(self, workload: Workload, candidate: Any, outcome: Measurement | Failure) -> None:
        """Append one trial to the database; tell why it failed where it did."""
        from tvm.s_tir.meta_schedule.database import TuningRecord

        if isinstance(outcome, Failure):
            _LOG.debug("kernel %s: %s: %s", workload.key, outcome.stage, outcome.cause)
        seconds = [_FAILED] if isinstance(outcome, Failure) else run_seconds(outcome)
        self.database.commit_tuning_record(
            TuningRecord(
                candidate.sch.trace,
                self.database.commit_workload(workload.mod),
                seconds,
                self.target,
                candidate.args_info,
            )
        )


def _run(measurer: Measurer, built: Sequence[Artifact | Failure]) -> list[Measurement | Failure]:
    """Measure what could be built; the artifacts are deleted."""
    artifacts = [item for item in built if isinstance(item, Artifact)]
    measured = iter(measurer.run(artifacts))
    for artifact in artifacts:
        artifact.path.unlink(missing_ok=True)
    return [next(measured) if isinstance(item, Artifact) else item for item in built]


def _operations(workload: Workload) -> float:
    """Floating point operations of a kernel."""
    return float(tvm.s_tir.analysis.estimate_tir_flops(workload.mod))


def _progress(kernels: Sequence[_Kernel], position: int, unit: str) -> TuningProgress:
    kernel = kernels[position]
    outcomes = [outcome for each in kernels for outcome in each.outcomes]
    return TuningProgress(
        key=kernel.workload.key,
        kernel=position + 1,
        kernels=len(kernels),
        trials=len(outcomes),
        planned=sum(each.planned for each in kernels),
        failed=sum(isinstance(outcome, Failure) for outcome in outcomes),
        best=kernel.best,
        unit=unit,
    )


def _report(kernel: _Kernel, unit: str) -> KernelReport:
    return KernelReport(
        key=kernel.workload.key,
        trials=len(kernel.outcomes),
        failures=kernel.failures,
        best=kernel.best,
        unit=unit,
        seconds=kernel.seconds,
    )


def _log_failures(kernel: _Kernel) -> None:
    """One line per kernel and cause; single failures are logged where they happen."""
    for failure in kernel.failures:
        _LOG.warning(
            "kernel %s: %d of %d trials failed to %s: %s",
            kernel.workload.key,
            failure.count,
            len(kernel.outcomes),
            failure.stage,
            failure.cause,
        )
