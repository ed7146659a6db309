"""Collects measurements: schedules kernels at other widths by transfer, and measures them once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.latency.families import Family
from tvm_prune.latency.records import RecordKey, Records
from tvm_prune.latency.samples import Kernel, Sample, kernels_at
from tvm_prune.latency.steady import SteadyRunner
from tvm_prune.latency.templates import Widths
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer, raise_if_lost
from tvm_prune.tuning import Workload
from tvm_prune.units import SECONDS

logger = logging.getLogger(__name__)

BATCH = 16
"""Kernels that are built and run together."""


@dataclass(frozen=True)
class _Job:
    """A kernel to measure: the families and widths it stands for share one workload."""

    kernel: Kernel
    workload: Workload
    key: RecordKey


class Collector:
    """Measures the kernels of a model at chosen widths; everything measured is kept on disk.

    Attributes:
        measured: kernels measured by this collector, failures included.
        failures: those that gave no measurement.
    """

    def __init__(
        self,
        families: Sequence[Family],
        measurer: Measurer,
        records: Records,
        board: str,
        target: Any,
    ) -> None:
        self._families = families
        self._measurer = measurer
        self._records = records
        self._board = board
        self._target = target
        self._runner: SteadyRunner | None = None
        self._tried: set[RecordKey] = set()
        self._jobs: dict[Kernel, _Job] = {}
        self.measured = 0
        self.failures: list[Failure] = []

    def collect(self, choices: Iterable[Widths]) -> list[Sample]:
        """Measure all kernels of the model at each choice of widths.

        Args:
            choices: width of every group, for each model to sample.
        """
        return self.collect_kernels(
            kernel for widths in choices for kernel in kernels_at(self._families, widths)
        )

    def collect_kernels(self, kernels: Iterable[Kernel]) -> list[Sample]:
        """Measure single kernels, each once; those that give no measurement are left out."""
        wanted: dict[Kernel, _Job] = {}
        pending: dict[RecordKey, _Job] = {}
        for kernel in kernels:
            if kernel in wanted:
                continue
            job = wanted[kernel] = self._job(kernel)
            if not self._is_known(job.key):
                pending[job.key] = job
            if len(pending) == BATCH:
                self._measure(list(pending.values()))
                pending.clear()
        self._measure(list(pending.values()))
        samples = []
        for job in wanted.values():
            outcome = self._records.get(job.key)
            if isinstance(outcome, Measurement):
                kernel = job.kernel
                cost, spread = outcome.median, outcome.spread
                samples.append(Sample(kernel.family, kernel.widths, cost, spread))
        return samples

    def is_known(self, kernel: Kernel) -> bool:
        """Whether a kernel was measured already, by this run or an earlier one."""
        return self._is_known(self._job(kernel).key)

    def _is_known(self, key: RecordKey) -> bool:
        """Whether there is nothing to measure; what did not run in an earlier run may run now."""
        outcome = self._records.get(key)
        if isinstance(outcome, Failure) and outcome.stage == "run":
            return key in self._tried
        return outcome is not None

    def _job(self, kernel: Kernel) -> _Job:
        if kernel not in self._jobs:
            family = self._families[kernel.family]
            workload = family.workload_at(kernel.widths)
            key = RecordKey(self._board, workload.key, family.source.key)
            self._jobs[kernel] = _Job(kernel, workload, key)
        return self._jobs[kernel]

    def _measure(self, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        outcomes = dict(zip((job.key for job in jobs), self._outcomes(jobs), strict=True))
        kept = {
            key: outcome
            for key, outcome in outcomes.items()
            if not (isinstance(outcome, Failure) and outcome.is_lost)
        }
        self._records.put(kept)
        self._tried.update(kept)
        self.measured += len(kept)
        for key, outcome in kept.items():
            if isinstance(outcome, Failure):
                self.failures.append(outcome)
                logger.debug("kernel %s: %s: %s", key.workload, outcome.stage, outcome.cause)
        raise_if_lost(outcomes.values())

    def _outcomes(self, jobs: Sequence[_Job]) -> list[Measurement | Failure]:
        scheduled = [self._schedule(job) for job in jobs]
        modules = [entry for entry in scheduled if not isinstance(entry, Failure)]
        built = iter(self._measurer.build(modules))
        artifacts = [entry if isinstance(entry, Failure) else next(built) for entry in scheduled]
        ran = iter(self._steady().run([a for a in artifacts if isinstance(a, Artifact)]))
        return [entry if isinstance(entry, Failure) else next(ran) for entry in artifacts]

    def _steady(self) -> SteadyRunner:
        """The runner, with the largest dense kernel as its reference; counts do not drift."""
        if self._runner is None and self._measurer.unit != SECONDS:
            self._runner = SteadyRunner(self._measurer)
        if self._runner is None:
            largest = max(self._families, key=lambda family: float(family.slots.base.prod()))
            try:
                schedule = largest.source.schedule(largest.workload, self._target)
                [built] = self._measurer.build([schedule.mod])
            except (TransferError, TuningError):
                built = None
            reference = built if isinstance(built, Artifact) else None
            self._runner = SteadyRunner(self._measurer, reference)
        return self._runner

    def _schedule(self, job: _Job) -> Any:
        source = self._families[job.kernel.family].source
        try:
            return source.schedule(job.workload, self._target).mod
        except (TransferError, TuningError) as error:
            return Failure("schedule", str(error))
