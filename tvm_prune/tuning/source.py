"""Where the schedules of a kernel come from, at whatever width it is wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.machine import core_count
from tvm_prune.tuning.competitors import (
    Competitor,
    best_fitting,
    borrowed_competitors,
    made,
    own_competitors,
)
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.database import fastest_records
from tvm_prune.tuning.default import default_schedule
from tvm_prune.tuning.fit import Wanted
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.library import TraceLibrary
from tvm_prune.tuning.traces import TileSlot, tile_slots, trace_to_json
from tvm_prune.tuning.transfer import transfer

OWN = 2
"""Traces of the kernel's own tuning that are tried."""

RELATIVES = 24
"""Traces of other kernels that are considered, by arithmetic alone."""

COMPETING = 6
"""Schedules that compete. Each takes about 20 ms to make and to judge."""

_OFFERS = "3"
"""Changes where the same traces come to offer other schedules: what was measured is of those."""


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
        theirs; of all these the best-fitting compete, and each of the kernel's own traces does. A
        kernel that was never tuned also has the default schedule. On the workload that it was tuned
        for, the own trace is the best one measured: there it stays alone.

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
        context = tune_context(workload.mod, target, threads=core_count())
        wanted = Wanted(workload)
        competitors = self._competitors(wanted, target, context)
        offered = made(competitors, COMPETING)
        default = None
        if not offered or not self.is_own:
            default = _default(workload, target, is_needed=not offered)
            offered += [] if default is None else [default]
        if self.library.ranker is not None:
            order = self.library.ranker.order(offered, context)
            offered = [offered[position] for position in order]
        return offered, default

    @cached_property
    def _own(self) -> list[tuple[Any, tuple[TileSlot, ...]]]:
        """The traces that were tuned for this very kernel, each with the loops that it tiles."""
        traces = (self.trace, *self.others) if self.is_own else ()
        return [(trace, tile_slots(trace)) for trace in traces]

    def _competitors(self, wanted: Wanted, target: Target, context: Any) -> list[Competitor]:
        """What to make schedules of; without a ranker, what was tuned for this very kernel first.

        With one, the best-fitting use of each trace that was tuned for this very kernel competes in
        any case.
        """
        best, others = own_competitors(self._own, wanted, target, context)
        if wanted.workload.key == self.tuned_for:
            return best[:1]
        borrowed = borrowed_competitors(self.library, wanted, target, context, RELATIVES)
        if self.library.ranker is None:
            return [*best, *best_fitting(others), *best_fitting(borrowed)]
        return [*best, *best_fitting([*others, *borrowed])]


def _default(workload: Workload, target: Target, is_needed: bool) -> Schedule | None:
    """The default schedule; None where there is none and another one is there."""
    try:
        return default_schedule(workload, target)
    except TuningError:
        if is_needed:
            raise
        return None


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
