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
from tvm_prune.tuning.fit import Use, Wanted, uses
from tvm_prune.tuning.library import TraceLibrary, TraceReader
from tvm_prune.tuning.traces import TileSlot
from tvm_prune.tuning.variants import scheduled


@dataclass(frozen=True)
class Competitor:
    """A schedule that can be made.

    Attributes:
        read: gives the trace, or None where it does not apply; slow.
        use: how the trace is used.
    """

    read: Callable[[], Any | None]
    use: Use


def own_competitors(
    traces: Sequence[tuple[Any, Sequence[TileSlot]]], wanted: Wanted
) -> tuple[list[Competitor], list[Competitor]]:
    """What a kernel's own tuned traces offer.

    Args:
        traces: each with the loops that it tiles.
        wanted: the kernel.

    Returns:
        The best-fitting use of each trace, in their order, and all others.
    """
    best, others = [], []
    for trace, slots in traces:
        found = [Competitor(_known(trace), use) for use in uses(slots, wanted)]
        first, *rest = best_fitting(found)
        best.append(first)
        others += rest
    return best, others


def _known(trace: Any) -> Callable[[], Any]:
    return lambda: trace


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
    read = functools.cache(TraceReader(wanted.workload, target, context).trace)
    return [
        Competitor(functools.partial(read, tuned), use)
        for tuned in library.relatives(wanted.structure)[:most]
        for use in uses(tuned.slots, wanted)
    ]


def best_fitting(competitors: Sequence[Competitor]) -> list[Competitor]:
    """Those that fit best first."""
    return sorted(competitors, key=lambda competitor: competitor.use.misfit)


def made(
    competitors: Sequence[Competitor], wanted: Wanted, target: Target, context: Any, most: int
) -> list[Schedule]:
    """The schedules of the first competitors that apply."""

    def schedules() -> Iterator[Schedule]:
        for competitor in competitors:
            trace = competitor.read()
            if trace is None:
                continue
            try:
                yield scheduled(competitor.use, trace, wanted.workload, target, context)
            except TransferError:
                continue

    return list(islice(schedules(), most))
