"""What competes to schedule a kernel: tuned traces, and the ways to use them at its extents."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_prune.errors import TransferError
from tvm_prune.tuning.fit import Use, Wanted, fitted_tilings, uses
from tvm_prune.tuning.library import TraceLibrary, TraceReader, TunedTrace
from tvm_prune.tuning.traces import TileSlot
from tvm_prune.tuning.transfer import transfer_text
from tvm_prune.tuning.variants import as_used, scheduled


@dataclass(frozen=True)
class Competitor:
    """A schedule that can be made.

    Attributes:
        make: makes it, which is slow; raises a ``TransferError`` where the trace does not apply.
        misfit: how badly the trace fits, from :class:`~tvm_prune.tuning.fit.Use`.
    """

    make: Callable[[], Schedule]
    misfit: float


def own_competitors(
    traces: Sequence[tuple[Any, Sequence[TileSlot]]], wanted: Wanted, target: Target, context: Any
) -> tuple[list[Competitor], list[Competitor]]:
    """What a kernel's own tuned traces offer.

    Args:
        traces: each with the loops that it tiles.
        wanted: the kernel.
        target: what it is for.
        context: from :func:`~tvm_prune.tuning.context.tune_context` for both.

    Returns:
        The best-fitting use of each trace, in their order, and all others.
    """
    best, others = [], []
    for trace, slots in traces:
        make = functools.partial(
            scheduled, trace=trace, workload=wanted.workload, target=target, context=context
        )
        found = [
            Competitor(functools.partial(make, use), use.misfit) for use in uses(slots, wanted)
        ]
        first, *rest = best_fitting(found)
        best.append(first)
        others += rest
    return best, others


def borrowed_competitors(
    library: TraceLibrary, wanted: Wanted, target: Target, context: Any, most: int
) -> list[Competitor]:
    """What the traces of the nearest kernels offer.

    Args:
        library: tuned traces of other kernels.
        wanted: the kernel.
        target: what it is for.
        context: from :func:`~tvm_prune.tuning.context.tune_context` for both.
        most: traces that are considered.
    """
    read = functools.cache(TraceReader(wanted, target, context).trace)

    def make(tuned: TunedTrace, use: Use) -> Schedule:
        tilings = fitted_tilings(tuned.slots, wanted, use)
        if tilings is not None and tuned.structure.is_like(wanted.structure):
            workload = as_used(use, wanted.workload)
            return transfer_text(tuned.text, tilings, workload, target, context)
        trace = read(tuned)
        if trace is None:
            raise TransferError(f"a trace does not apply to kernel {wanted.workload.key}")
        return scheduled(use, trace, wanted.workload, target, context)

    return [
        Competitor(functools.partial(make, tuned, use), use.misfit)
        for tuned in library.relatives(wanted.structure)[:most]
        for use in uses(tuned.slots, wanted)
    ]


def best_fitting(competitors: Sequence[Competitor]) -> list[Competitor]:
    """Those that fit best first."""
    return sorted(competitors, key=lambda competitor: competitor.misfit)


def made(competitors: Sequence[Competitor], most: int) -> list[Schedule]:
    """The schedules of the first competitors whose traces apply."""

    def schedules() -> Iterator[Schedule]:
        for competitor in competitors:
            try:
                yield competitor.make()
            except TransferError:
                continue

    return list(islice(schedules(), most))
