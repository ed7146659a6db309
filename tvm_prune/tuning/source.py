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
from tvm_prune.machine import core_count
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.database import fastest_records
from tvm_prune.tuning.default import default_schedule
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.library import TraceLibrary
from tvm_prune.tuning.traces import tile_slots, trace_to_json
from tvm_prune.tuning.transfer import transfer
from tvm_prune.tuning.variants import variants

OWN = 2
"""Traces of the kernel's own tuning that are tried."""

_OFFERS = "2"
"""Changes where the same traces come to offer other schedules: what was measured is of those."""

NEAREST = 3
"""Traces of other kernels that are tried."""

EACH = 2
"""Schedules of the most promising traces: with perfect tilings, and with a loop padded. Each takes
about 20 ms to make and to judge; of the other traces, the first one is enough."""


@dataclass(frozen=True)
class ScheduleSource:
    """Schedules one kernel at any extents, without measuring.

    Attributes:
        key: stands for everything that the choice depends on.
        trace: the best one tuned for this kernel at other extents, or else for the kernel nearest
            to it; None where there is neither.
        is_own: whether it was tuned for this very kernel.
        others: the next best traces that were tuned for this very kernel.
        tuned_for: key of the workload that they were measured on.
        library: tuned traces of other kernels, and the ranker that tells which of several
            schedules is the fastest; without a ranker, the first one is.
    """

    key: str
    trace: Any | None = None
    is_own: bool = True
    others: tuple[Any, ...] = ()
    tuned_for: str | None = None
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

        The kernel's own traces offer perfect tilings and padded ones, the nearest kernels' traces
        theirs; a kernel that was never tuned also has the default schedule. On the workload that
        it was tuned for, the own trace is the best one measured, and without a ranker nobody can
        tell which of several is faster: there it stays alone.

        Raises:
            TuningError: if there is no valid schedule at all.
        """
        return self._offers(workload, target)[0]

    def finalists(self, workload: Workload, target: Target, most: int) -> list[Schedule]:
        """The schedules to measure: the most promising ones.

        For a kernel that was never tuned the default one is measured too, which bounds what the
        kernel costs: the nearest kernels' traces may be far from it.

        Args:
            workload: the kernel.
            target: what it is for.
            most: promising schedules.

        Raises:
            TuningError: if there is no valid schedule at all.
        """
        offered, default = self._offers(workload, target)
        first = offered[:most]
        missing = default is not None and not any(each is default for each in first)
        return [*first, default] if missing else first

    def _offers(self, workload: Workload, target: Target) -> tuple[list[Schedule], Schedule | None]:
        """The schedules to choose from, and which of them is the default one, if it is there."""
        if self.trace is None:
            default = default_schedule(workload, target)
            return [default], default
        ranker = self.library.ranker
        context = tune_context(workload.mod, target, threads=core_count())
        own = self._own(workload, target, context)
        if own and (ranker is None or workload.key == self.tuned_for):
            return own, None
        borrowed, default = self._borrowed(workload, target, context, is_needed=not own)
        offered = [*own, *borrowed]
        if ranker is not None:
            offered = [offered[position] for position in ranker.order(offered, context)]
        return offered, default

    def _own(self, workload: Workload, target: Target, context: Any) -> list[Schedule]:
        """What was tuned for this very kernel offers; all of it where there is no ranker.

        There, a schedule that keeps all inner tile sizes is enough.
        """
        if not self.is_own:
            return []
        ranker = self.library.ranker
        found = variants(self.trace, workload, target, context)
        own = list(islice(found, 1))
        if own and (workload.key == self.tuned_for or (not ranker and self._keeps_tiles(own[0]))):
            return own
        own += islice(found, None if ranker is None else EACH - len(own))
        for trace in self.others if ranker is not None else ():
            own += islice(variants(trace, workload, target, context), 1)
        return own

    def _keeps_tiles(self, schedule: Schedule) -> bool:
        """Whether a schedule with perfect tilings has all inner tile sizes of the own trace.

        Such a one is as good as the trace itself: nothing that matters to the processor changed.
        """
        tiled, tuned = tile_slots(schedule.trace), tile_slots(self.trace)
        return [slot.factors[1:] for slot in tiled] == [slot.factors[1:] for slot in tuned]

    def _borrowed(
        self, workload: Workload, target: Target, context: Any, is_needed: bool
    ) -> tuple[list[Schedule], Schedule | None]:
        """What the nearest kernels offer, and the default schedule, which may be among it.

        Args:
            workload: the kernel.
            target: what it is for.
            context: of the target.
            is_needed: whether the kernel has no other schedule: then more are tried, and the
                default one is among them.
        """
        offered: list[Schedule] = []
        for trace in self.library.nearest(workload, target, NEAREST):
            found = variants(trace, workload, target, context)
            offered += islice(found, EACH if is_needed else 1)
        if not is_needed:
            return offered, None
        try:
            default = default_schedule(workload, target)
        except TuningError:
            if not offered:
                raise
            return offered, None
        return [*offered, default], default


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
    for database in databases:
        if records := fastest_records(database, workload, target, OWN):
            own, *others = (record.trace for record in records)
            key = _digest([own, *others], library)
            return ScheduleSource(
                key, own, others=tuple(others), tuned_for=workload.key, library=library
            )
    for trace in library.nearest(workload, target, 1):
        return ScheduleSource(_digest([trace], library), trace, is_own=False, library=library)
    return ScheduleSource("default")


def _digest(traces: Sequence[Any], library: TraceLibrary) -> str:
    parts = [_OFFERS, *map(trace_to_json, traces), library.key]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
