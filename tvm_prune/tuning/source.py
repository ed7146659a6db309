"""Where the schedules of a kernel come from, at whatever width it is wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.tuning.database import best_record
from tvm_prune.tuning.default import default_schedule
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.library import TraceLibrary
from tvm_prune.tuning.traces import tile_slots, trace_to_json
from tvm_prune.tuning.transfer import transfer
from tvm_prune.tuning.variants import variants

NEAREST = 3
"""Kernels of other extents whose traces are tried."""

MOST_OFFERS = 8
"""Schedules among which the ranker chooses; each takes 20 to 30 ms to make and to judge."""


@dataclass(frozen=True)
class ScheduleSource:
    """Schedules one kernel at any extents, without measuring.

    Attributes:
        key: stands for everything that the choice depends on.
        trace: tuned for this kernel at other extents, or else for the kernel nearest to it; None
            where there is neither.
        is_own: whether it was tuned for this very kernel.
        library: tuned traces of other kernels, and the ranker that tells which of several
            schedules is the fastest; without a ranker, the first one is.
    """

    key: str
    trace: Any | None = None
    is_own: bool = True
    library: TraceLibrary = field(default_factory=TraceLibrary)

    def schedule(self, workload: Workload, target: Target) -> Schedule:
        """Schedule the kernel at the extents of `workload`.

        Raises:
            TuningError: if there is no valid schedule at all.
        """
        return self.offers(workload, target)[0]

    def plain(self, workload: Workload, target: Target) -> Schedule:
        """The schedule that the source's own trace gives with perfect tilings, or the default one.

        Unlike what :meth:`schedule` chooses, its loops follow from those of other extents.

        Raises:
            TuningError: if there is no valid schedule at all.
        """
        if self.trace is not None:
            try:
                return transfer(self.trace, workload, target)
            except TransferError:
                pass
        return default_schedule(workload, target)

    def offers(self, workload: Workload, target: Target) -> list[Schedule]:
        """The schedules to choose from, the most promising one first.

        The kernel's own trace offers its perfect tilings and its padded ones, the nearest kernels'
        traces theirs; a kernel that was never tuned also has the default schedule. At the extents
        that it was tuned for, the own trace is the best one measured, and without a ranker
        nobody can tell which of several is faster: there it stays alone.

        Raises:
            TuningError: if there is no valid schedule at all.
        """
        own = self._own(workload, target)
        if self.library.ranker is None:
            return own or self._borrowed(workload, target)
        if own and _extents(own[0].trace) == _extents(self.trace):
            return own[:1]
        borrowed = self._borrowed(workload, target, MOST_OFFERS - len(own), needed=not own)
        offered = [*own, *borrowed]
        order = self.library.ranker.order(offered, target, own=len(own))
        return [offered[position] for position in order]

    def _own(self, workload: Workload, target: Target) -> list[Schedule]:
        """What the trace that was tuned for this very kernel offers.

        Without a ranker, a tiling that keeps all of the trace's inner tile sizes is enough: nothing
        that matters to the processor has changed since it was tuned.
        """
        if self.trace is None or not self.is_own:
            return []
        offered = []
        for schedule, as_tuned in variants([self.trace], workload, target):
            if as_tuned and self.library.ranker is None:
                return [schedule]
            offered.append(schedule)
        return offered

    def _borrowed(
        self, workload: Workload, target: Target, most: int = MOST_OFFERS, needed: bool = True
    ) -> list[Schedule]:
        """What the nearest kernels offer.

        Args:
            workload: the kernel.
            target: what it is for.
            most: schedules to give.
            needed: whether the kernel has no other schedule: then the default one is among them.
        """
        nearest = self.library.nearest(workload, target, NEAREST)
        offered = [each for each, _ in islice(variants(nearest, workload, target), max(0, most))]
        if not needed:
            return offered
        try:
            return [*offered, default_schedule(workload, target)]
        except TuningError:
            if not offered:
                raise
            return offered


def find_source(
    workload: Workload, target: Target, databases: Sequence[Any], library: TraceLibrary
) -> ScheduleSource:
    """The source of a kernel: its own tuned trace, or those of the nearest kernels.

    Args:
        workload: an unscheduled kernel.
        target: what to compile for.
        databases: what this machine has tuned.
        library: tuned traces of other kernels.
    """
    records = (best_record(database, workload, target) for database in databases)
    own = next((record.trace for record in records if record is not None), None)
    trace = next(iter([own] if own is not None else library.nearest(workload, target, 1)), None)
    if trace is None:
        return ScheduleSource("default")
    return ScheduleSource(_digest(trace, library), trace, own is not None, library)


def _extents(trace: Any) -> list[int]:
    """Extents of the loops that a trace tiles."""
    return [slot.extent for slot in tile_slots(trace)]


def _digest(trace: Any, library: TraceLibrary) -> str:
    return hashlib.sha256(f"{trace_to_json(trace)}\n{library.key}".encode()).hexdigest()[:16]
