"""Where several schedules of a kernel are promising, the board decides.

The ranker that orders the schedules of a kernel has never measured anything on this board. Of every
kernel, its first few choices are measured, and the fastest one wins: its cost is what the latency
model learns, and whole models are built with it.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.latency.records import RecordKey, Records
from tvm_prune.latency.steady import Outcome
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer, raise_if_lost
from tvm_prune.tuning import ScheduleSource, Workload

logger = logging.getLogger(__name__)

FINALISTS = 2
"""Promising schedules of a kernel that are measured, where its source offers as many."""

BATCH = 16
"""Kernels that are built and run together."""

Entry = tuple[ScheduleSource, Workload]
Run = Callable[[Sequence[Artifact]], Sequence[Outcome]]

_Finals = Mapping[RecordKey, Any]


@dataclass
class Contest:
    """Measures the most promising schedules of kernels; each of them once.

    Attributes:
        measurer: builds kernels for the board.
        records: measurements kept over runs.
        board: fingerprint of the board.
        target: what kernels are scheduled for.
        run: runs them; the measurer itself by default.
        measured: schedules measured by this contest, failures included.
        won: the fastest schedule of every kernel that was asked for and is decided.
    """

    measurer: Measurer
    records: Records
    board: str
    target: Any
    run: Run | None = None
    measured: int = 0
    won: dict[RecordKey, Any] = field(default_factory=dict)

    def key(self, source: ScheduleSource, workload: Workload) -> RecordKey:
        """What the cost of a kernel's fastest schedule is recorded under."""
        return RecordKey(self.board, workload.key, source.key)

    def fastest(self, entries: Sequence[Entry]) -> list[Any]:
        """The schedule of every kernel that costs least on the board.

        Args:
            entries: kernels and where their schedules come from.

        Raises:
            TuningError: if a kernel has no valid schedule at all.
            MeasureError: if the board is lost.
        """
        keys = [self.key(*entry) for entry in entries]
        unknown = dict(zip(keys, entries, strict=True)).items()
        finals = {key: self._finals(*entry) for key, entry in unknown if key not in self.won}
        self._measure(final for final in finals.values() if len(final) > 1)
        won = {key: final[min(final, key=self._cost)] for key, final in finals.items()}
        chosen = [won[key] if key in won else self.won[key] for key in keys]
        self.won |= {key: won[key] for key, final in finals.items() if self._is_decided(final)}
        return chosen

    def costs(self, entries: Sequence[Entry]) -> list[Outcome]:
        """What every kernel's fastest schedule costs, or why none of them could be measured.

        Args:
            entries: kernels and where their schedules come from.

        Raises:
            MeasureError: if the board is lost.
        """
        finals = [self._finals_or_failure(*entry) for entry in entries]
        self._measure(final for final in finals if not isinstance(final, Failure))
        outcomes = [final if isinstance(final, Failure) else self._best(final) for final in finals]
        self.records.put(
            {self.key(*entry): outcome for entry, outcome in zip(entries, outcomes, strict=True)}
        )
        return outcomes

    def _finals(self, source: ScheduleSource, workload: Workload) -> _Finals:
        """The most promising schedules, in order; each is known by the program that it makes."""
        offered = source.finalists(workload, self.target, FINALISTS)
        key = self.key(source, workload)
        if len(offered) == 1:
            return {key: offered[0]}
        return {
            RecordKey(key.board, key.workload, f"{key.schedule}:{program_digest(each)}"): each
            for each in offered
        }

    def _finals_or_failure(self, source: ScheduleSource, workload: Workload) -> _Finals | Failure:
        try:
            return self._finals(source, workload)
        except (TransferError, TuningError) as error:
            return Failure("schedule", str(error))

    def _measure(self, finals: Iterable[_Finals]) -> None:
        """Measure new schedules, a batch at a time, and record them."""
        pending = {
            key: schedule
            for final in finals
            for key, schedule in final.items()
            if not self.records.is_settled(key)
        }
        keys = list(pending)
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            built = self.measurer.build([pending[key].mod for key in batch])
            artifacts = [each for each in built if isinstance(each, Artifact)]
            ran = iter((self.run or self.measurer.run)(artifacts))
            outcomes = [each if isinstance(each, Failure) else next(ran) for each in built]
            self.records.put(dict(zip(batch, outcomes, strict=True)))
            raise_if_lost(outcomes)
            self.measured += len(batch)
        if keys:
            logger.info("%d schedules measured to find the fastest", len(keys))

    def _best(self, final: _Finals) -> Outcome:
        outcome = self.records.get(min(final, key=self._cost))
        assert outcome is not None
        return outcome

    def _is_decided(self, final: _Finals) -> bool:
        """Whether another measurement would change nothing."""
        return len(final) == 1 or all(map(self.records.is_settled, final))

    def _cost(self, key: RecordKey) -> float:
        outcome = self.records.get(key)
        return outcome.median if isinstance(outcome, Measurement) else math.inf


def program_digest(schedule: Any) -> str:
    """Stands for the program that a schedule makes."""
    return hashlib.sha256(str(schedule.mod).encode()).hexdigest()[:16]
