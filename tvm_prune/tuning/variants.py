"""The schedules that a tuned trace offers for a kernel at new extents, before one is chosen.

The trace is tried as it is, with perfect tilings, and where a channel loop does not tile like the
one that the trace was tuned for, with that loop rounded up to extents that do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_prune.errors import TransferError
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.padding import paddable_loops, padded
from tvm_prune.tuning.tiling import closest_tiling
from tvm_prune.tuning.traces import TileSlot, tile_slots
from tvm_prune.tuning.transfer import transfer

ROUND_STEPS = (4, 8, 16, 32)
MOST_WASTE = 0.34
"""Share of the work that a padded loop may add."""

_LEVELS = 4
"""Levels of a spatial loop's tiling; those of a reduction are two."""


def variants(
    trace: Any, workload: Workload, target: Target, context: Any | None = None
) -> Iterator[Schedule]:
    """Schedules of a workload, the one with perfect tilings first.

    There is none if the trace does not apply.

    Args:
        trace: tuned for a kernel of the same structure.
        workload: the kernel at the extents that are wanted.
        target: the target that the trace was tuned for.
        context: see :func:`~tvm_prune.tuning.transfer.transfer`.
    """
    try:
        yield transfer(trace, workload, target, context)
    except TransferError:
        return
    for block, loop, extent in paddings(tile_slots(trace), workload):
        wider = padded(workload, block, loop, extent)
        try:
            yield transfer(trace, wider, target, context)
        except TransferError:
            continue


def paddings(slots: Sequence[TileSlot], workload: Workload) -> Iterator[tuple[str, int, int]]:
    """Loops that a trace cannot tile as it did, and the rounder extents to try for each.

    Args:
        slots: the loops that the trace tiles.
        workload: the kernel at the extents that are wanted.

    Yields:
        Block, index of the loop, and its new extent; smaller extents first.
    """
    tiled = {(slot.block, slot.loop): slot.factors for slot in slots}
    for (block, loop), extent in paddable_loops(workload).items():
        factors = tiled.get((block, loop), ())
        if len(factors) == _LEVELS and closest_tiling(extent, factors)[1:] != factors[1:]:
            for rounder in rounder_extents(extent, math.prod(factors[1:])):
                yield block, loop, rounder


def rounder_extents(extent: int, inner: int) -> list[int]:
    """Larger extents that tile well, ascending: multiples of `inner` and of powers of two."""
    steps = {inner, *ROUND_STEPS} - {1}
    rounder = {math.ceil(extent / step) * step for step in steps} - {extent}
    return sorted(each for each in rounder if each <= (1 + MOST_WASTE) * extent)
