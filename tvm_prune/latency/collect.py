"""Collects measurements: what kernels cost at other widths, each measured once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.latency.contest import BATCH, Contest, Entry
from tvm_prune.latency.families import Family
from tvm_prune.latency.records import RecordKey, Records
from tvm_prune.latency.samples import Kernel, Sample, kernels_at
from tvm_prune.latency.steady import Outcome, Reference, SteadyRunner
from tvm_prune.latency.templates import Widths
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer, raise_if_lost
from tvm_prune.units import SECONDS

logger = logging.getLogger(__name__)

_LOOKS = 3
"""How many times a kernel is measured where the machine may be disturbed meanwhile."""

_REFERENCES = 5
"""Dense kernels that tell how fast the machine is."""


@dataclass(frozen=True)
class _Job:
    """A kernel to measure: the families and widths it stands for share one workload."""

    kernel: Kernel
    entry: Entry
    key: RecordKey


class Collector:
    """Measures the kernels of a model at chosen widths; everything measured is kept on disk.

    Attributes:
        contest: decides which schedule each kernel has.
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
        self._target = target
        self._jobs: dict[Kernel, _Job] = {}
        self.contest = Contest(measurer, records, board, target, self._run)
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
            if not self._records.is_settled(job.key):
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
        return self._records.is_settled(self._job(kernel).key)

    def _job(self, kernel: Kernel) -> _Job:
        if kernel not in self._jobs:
            family = self._families[kernel.family]
            entry = family.source, family.workload_at(kernel.widths)
            self._jobs[kernel] = _Job(kernel, entry, self.contest.key(*entry))
        return self._jobs[kernel]

    def _measure(self, jobs: Sequence[_Job]) -> None:
        outcomes = self.contest.costs([job.entry for job in jobs])
        self.measured += len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Failure):
                self.failures.append(outcome)
                logger.debug("kernel %s: %s: %s", job.key.workload, outcome.stage, outcome.cause)

    def _run(self, artifacts: Sequence[Artifact]) -> list[Outcome]:
        return self._steady.run(artifacts)

    @cached_property
    def _steady(self) -> SteadyRunner:
        """The runner, with the largest dense kernels as its references; counts do not drift."""
        if self._measurer.unit != SECONDS:
            return SteadyRunner(self._measurer)
        return SteadyRunner(self._measurer, self._references(), looks=_LOOKS)

    def _references(self) -> list[Reference]:
        """The largest dense kernels; what they usually cost is kept over runs."""
        schedules = self._largest_dense()
        artifacts = self._measurer.build([schedule.mod for schedule in schedules.values()])
        built = {
            key: artifact
            for key, artifact in zip(schedules, artifacts, strict=True)
            if isinstance(artifact, Artifact)
        }
        missing = [key for key in built if not self._records.is_settled(key)]
        alone = SteadyRunner(self._measurer, looks=_LOOKS)
        outcomes = alone.run([built[key] for key in missing])
        self._records.put(dict(zip(missing, outcomes, strict=True)))
        raise_if_lost([*artifacts, *outcomes])
        usual = {key: self._records.get(key) for key in built}
        return [
            Reference(built[key], outcome.median)
            for key, outcome in usual.items()
            if isinstance(outcome, Measurement)
        ]

    def _largest_dense(self) -> dict[RecordKey, Any]:
        """Schedules of the largest dense kernels, by what their usual costs are recorded under."""
        largest = sorted(self._families, key=lambda each: float(each.slots.base.prod()))[::-1]
        distinct = {family.workload.key: family for family in largest}
        schedules = {}
        for family in list(distinct.values())[:_REFERENCES]:
            key = self.contest.key(family.source, family.workload)
            with suppress(TransferError, TuningError):
                schedule = family.source.schedule(family.workload, self._target)
                schedules[replace(key, schedule=f"{key.schedule}:reference")] = schedule
        return schedules
