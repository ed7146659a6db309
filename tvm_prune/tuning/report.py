"""What tuning did: trials, failures by cause, and where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FailureCount:
    """How often trials failed at one stage for one cause."""

    stage: str
    cause: str
    count: int


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds by what they were spent on.

    Attributes:
        search: generating candidates and training the cost model.
        build: compiling candidates.
        run: measuring candidates.
    """

    search: float = 0.0
    build: float = 0.0
    run: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.search + self.build + self.run

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.search + other.search, self.build + other.build, self.run + other.run)


@dataclass(frozen=True)
class KernelReport:
    """Tuning of one kernel.

    Attributes:
        key: key of the workload.
        trials: candidates that were built, failures included.
        failures: those that gave no measurement.
        best: cost of the best schedule found in this run, in `unit`; None if every trial failed.
        unit: the measurer's unit.
        seconds: where the time went.
    """

    key: str
    trials: int
    failures: tuple[FailureCount, ...]
    best: float | None
    unit: str
    seconds: Seconds

    @property
    def failed(self) -> int:
        """Number of trials that gave no measurement."""
        return sum(failure.count for failure in self.failures)


@dataclass(frozen=True)
class TuningReport:
    """Tuning of all kernels of a model.

    Attributes:
        kernels: one report per kernel that needed trials.
        reused: how many kernels had enough trials in the database already.
    """

    kernels: tuple[KernelReport, ...] = field(default=())
    reused: int = 0

    @property
    def trials(self) -> int:
        """Candidates that were built, failures included."""
        return sum(kernel.trials for kernel in self.kernels)

    @property
    def failures(self) -> tuple[FailureCount, ...]:
        """Failures of all kernels by stage and cause, the most frequent first."""
        return count_failures([failure for kernel in self.kernels for failure in kernel.failures])

    @property
    def seconds(self) -> Seconds:
        """Wall-clock seconds of all kernels."""
        return sum((kernel.seconds for kernel in self.kernels), Seconds())


@dataclass(frozen=True)
class TuningProgress:
    """Where tuning stands, told after every round of measurements.

    Attributes:
        key: key of the workload being tuned.
        kernel: its position, from 1.
        kernels: how many kernels are tuned in this run.
        trials: trials of this run so far.
        planned: trials that this run will make at most.
        failed: trials of this run that gave no measurement.
        best: best cost of this kernel so far, in `unit`; None before the first success.
        unit: the measurer's unit.
    """

    key: str
    kernel: int
    kernels: int
    trials: int
    planned: int
    failed: int
    best: float | None
    unit: str


def count_failures(failures: Sequence[FailureCount]) -> tuple[FailureCount, ...]:
    """Add up failures of equal stage and cause; the most frequent first."""
    counter: Counter[tuple[str, str]] = Counter()
    for failure in failures:
        counter[failure.stage, failure.cause] += failure.count
    return tuple(FailureCount(stage, cause, n) for (stage, cause), n in counter.most_common())
