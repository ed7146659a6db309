"""Where several schedules of a kernel are promising, the board decides.

The ranker that orders the schedules of a kernel has never measured anything on this board. For the
kernels of a model that is about to be built, its first few choices are measured, and the fastest
one wins.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_prune.latency.records import RecordKey, Records
from tvm_prune.measurement import Artifact, Failure, Measurement, Measurer, raise_if_lost
from tvm_prune.tuning import ScheduleSource, Workload

logger = logging.getLogger(__name__)

FINALISTS = 3
"""Schedules of a kernel that are measured, where its source offers as many."""

Entry = tuple[ScheduleSource, Workload]


@dataclass(frozen=True)
class Contest:
    """Measures the most promising schedules of kernels; each of them once.

    Attributes:
        measurer: builds and measures on the board.
        records: measurements kept over runs.
        board: fingerprint of the board.
        target: what kernels are scheduled for.
    """

    measurer: Measurer
    records: Records
    board: str
    target: Any

    def fastest(self, entries: Sequence[Entry]) -> list[Any]:
        """The schedule of every kernel that costs least on the board.

        Args:
            entries: kernels and where their schedules come from.

        Raises:
            TuningError: if a kernel has no valid schedule at all.
            MeasureError: if the board is lost.
        """
        finals = [self._final(source, workload) for source, workload in entries]
        self._measure(
            {
                key: schedule
                for final in finals
                if len(final) > 1
                for key, schedule in final.items()
                if self.records.get(key) is None
            }
        )
        return [final[min(final, key=self._cost)] for final in finals]

    def _final(self, source: ScheduleSource, workload: Workload) -> dict[RecordKey, Any]:
        """The most promising schedules, in order; each is known by the program that it makes."""
        final = {}
        for schedule in source.offers(workload, self.target)[:FINALISTS]:
            program = hashlib.sha256(str(schedule.mod).encode()).hexdigest()[:16]
            final[RecordKey(self.board, workload.key, f"{source.key}:{program}")] = schedule
        return final

    def _measure(self, schedules: dict[RecordKey, Any]) -> None:
        """Measure new schedules in turns, and record them."""
        built = self.measurer.build([schedule.mod for schedule in schedules.values()])
        ran = iter(self.measurer.run([each for each in built if isinstance(each, Artifact)]))
        outcomes = [each if isinstance(each, Failure) else next(ran) for each in built]
        self.records.put(
            {
                key: outcome
                for key, outcome in zip(schedules, outcomes, strict=True)
                if not (isinstance(outcome, Failure) and outcome.is_lost)
            }
        )
        raise_if_lost(outcomes)
        if schedules:
            logger.info("%d schedules measured to find the fastest", len(schedules))

    def _cost(self, key: RecordKey) -> float:
        outcome = self.records.get(key)
        return outcome.median if isinstance(outcome, Measurement) else math.inf
