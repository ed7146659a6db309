"""Collects measurements: schedules kernels at other widths by transfer, and measures them once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.latency.families import Family, Lowering, Widths
from tvm_prune.latency.model import Sample
from tvm_prune.latency.records import RecordKey, Records
from tvm_prune.latency.steady import SteadyRunner
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer
from tvm_prune.tuning import Workload

logger = logging.getLogger(__name__)

_BATCH = 16


@dataclass(frozen=True)
class _Job:
    """A kernel to measure: the families and widths it stands for share one workload."""

    family: int
    widths: tuple[int, ...]
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
        lowering: Lowering,
        measurer: Measurer,
        records: Records,
        board: str,
        target: Any,
    ) -> None:
        self._families = families
        self._lowering = lowering
        self._measurer = measurer
        self._records = records
        self._board = board
        self._target = target
        self._runner: SteadyRunner | None = None
        self._tried: set[RecordKey] = set()
        self.measured = 0
        self.failures: list[Failure] = []

    def collect(self, choices: Iterable[Widths]) -> list[Sample]:
        """Measure all kernels of the model at each choice of widths.

        Args:
            choices: width of every group, for each model to sample.
        """
        samples = []
        pending: dict[RecordKey, _Job] = {}
        seen: set[tuple[int, tuple[int, ...]]] = set()
        jobs = []
        for widths in choices:
            for job in self._jobs(widths):
                if (job.family, job.widths) not in seen:
                    seen.add((job.family, job.widths))
                    jobs.append(job)
                    if not self._is_known(job.key):
                        pending[job.key] = job
            if len(pending) >= _BATCH:
                self._measure(list(pending.values()))
                pending.clear()
        self._measure(list(pending.values()))
        for job in jobs:
            outcome = self._records.get(job.key)
            if isinstance(outcome, Measurement):
                samples.append(Sample(job.family, job.widths, outcome.median, outcome.spread))
        return samples

    def _is_known(self, key: RecordKey) -> bool:
        """Whether there is nothing to measure; what did not run in an earlier run may run now."""
        outcome = self._records.get(key)
        if isinstance(outcome, Failure) and outcome.stage == "run":
            return key in self._tried
        return outcome is not None

    def _jobs(self, widths: Widths) -> list[_Job]:
        calls = self._lowering(widths)
        jobs = []
        for index, family in enumerate(self._families):
            workload = calls[family.calls[0]].workload
            own = tuple(widths[group] for group in family.groups)
            key = RecordKey(self._board, workload.key, family.source.key)
            jobs.append(_Job(index, own, workload, key))
        return jobs

    def _measure(self, jobs: Sequence[_Job]) -> None:
        for start in range(0, len(jobs), _BATCH):
            batch = jobs[start : start + _BATCH]
            outcomes = dict(zip((job.key for job in batch), self._outcomes(batch), strict=True))
            self._records.put(outcomes)
            self._tried.update(outcomes)
            self.measured += len(batch)
            for key, outcome in outcomes.items():
                if isinstance(outcome, Failure):
                    self.failures.append(outcome)
                    logger.debug("kernel %s: %s: %s", key.workload, outcome.stage, outcome.cause)

    def _outcomes(self, jobs: Sequence[_Job]) -> list[Measurement | Failure]:
        scheduled = [self._schedule(job) for job in jobs]
        modules = [entry for entry in scheduled if not isinstance(entry, Failure)]
        built = iter(self._measurer.build(modules))
        artifacts = [entry if isinstance(entry, Failure) else next(built) for entry in scheduled]
        ran = iter(self._steady().run([a for a in artifacts if isinstance(a, Artifact)]))
        return [entry if isinstance(entry, Failure) else next(ran) for entry in artifacts]

    def _steady(self) -> SteadyRunner:
        """The runner, with the largest dense kernel as its reference."""
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
        try:
            return self._families[job.family].source.schedule(job.workload, self._target).mod
        except (TransferError, TuningError) as error:
            return Failure("schedule", str(error))
