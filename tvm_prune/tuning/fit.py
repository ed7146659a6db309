"""How well a tuned trace fits a kernel at new extents, told by arithmetic alone.

To apply a trace and to judge the result takes 20 ms; what tile sizes would become of its own
follows from the extents in microseconds. So many traces are considered, and few applied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.padding import paddable_loops
from tvm_prune.tuning.structure import Structure, structure_of
from tvm_prune.tuning.tiling import closest_tiling
from tvm_prune.tuning.traces import TileSlot

ROUND_STEPS = (4, 8, 16, 32)
MOST_WASTE = 0.34
"""Share of the work that a padded loop may add."""

_LEVELS = 4
"""Levels of a spatial loop's tiling; those of a reduction are two."""
_RETILED = 0.1
"""Expected logarithm of the slowdown for each inner tile that is e times as large, or as small."""
_FAR = 0.015
"""The same for each loop that is e times as long, or as short, as where the trace was tuned."""


@dataclass(frozen=True)
class Wanted:
    """A kernel that a schedule is wanted for.

    Attributes:
        workload: the kernel, unscheduled.
    """

    workload: Workload

    @cached_property
    def structure(self) -> Structure:
        """The kernel's structure."""
        return structure_of(self.workload)

    @cached_property
    def extents(self) -> Mapping[tuple[str, int], int]:
        """Extents of its loops, by block and index."""
        found = zip(self.structure.blocks, self.structure.extents, strict=True)
        return {(name, i): extent for (name, _), own in found for i, extent in enumerate(own)}

    @cached_property
    def paddable(self) -> Mapping[tuple[str, int], int]:
        """Extents of the loops that may be rounded up."""
        return paddable_loops(self.workload)


@dataclass(frozen=True)
class Use:
    """One way to use a trace at other extents.

    Attributes:
        padding: block and index of the loop that is rounded up, and to which extent; None where
            all loops keep their extents, and tilings are perfect.
        misfit: expected logarithm of how much slower than where it was tuned the kernel is for its
            size: work that padding adds, inner tiles of other sizes, and loops of other lengths.
    """

    padding: tuple[str, int, int] | None
    misfit: float


def uses(slots: Sequence[TileSlot], wanted: Wanted) -> Iterator[Use]:
    """The ways to use a trace, the one with perfect tilings first.

    Args:
        slots: the loops that the trace tiles, with the tiles that were tuned.
        wanted: the kernel at the extents that are wanted.
    """
    loops = {(slot.block, slot.loop): slot for slot in slots}
    misfits = {
        loop: _misfit(slot, wanted.extents[loop])
        for loop, slot in loops.items()
        if loop in wanted.extents
    }
    perfect = sum(misfits.values())
    yield Use(None, perfect)
    for block, loop, extent in paddings(slots, wanted.paddable):
        waste = math.log(extent / wanted.extents[block, loop])
        instead = _misfit(loops[block, loop], extent) - misfits[block, loop]
        yield Use((block, loop, extent), perfect + instead + waste)


def fitted_tilings(
    slots: Sequence[TileSlot], wanted: Wanted, use: Use
) -> list[tuple[int, ...]] | None:
    """The tile sizes that a trace has when it is used so.

    Returns:
        One tiling for each slot, in their order; None where the trace tiles a loop that it made
        itself, whose extent is not known before.
    """
    extents = dict(wanted.extents)
    if use.padding is not None:
        block, loop, extent = use.padding
        extents[block, loop] = extent
    if any((slot.block, slot.loop) not in extents for slot in slots):
        return None
    return [closest_tiling(extents[slot.block, slot.loop], slot.factors) for slot in slots]


def _misfit(slot: TileSlot, extent: int) -> float:
    fitted = closest_tiling(extent, slot.factors)
    pairs = zip(slot.factors[1:], fitted[1:], strict=True)
    retiled = sum(abs(math.log(tuned / used)) for tuned, used in pairs)
    return _RETILED * retiled + _FAR * abs(math.log(slot.extent / extent))


def paddings(
    slots: Sequence[TileSlot], paddable: Mapping[tuple[str, int], int]
) -> Iterator[tuple[str, int, int]]:
    """Loops that a trace cannot tile as it did, and the rounder extents to try for each.

    Args:
        slots: the loops that the trace tiles.
        paddable: extents of the loops that may be rounded up, by block and index.

    Yields:
        Block, index of the loop, and its new extent; smaller extents first.
    """
    tiled = {(slot.block, slot.loop): slot.factors for slot in slots}
    for (block, loop), extent in paddable.items():
        factors = tiled.get((block, loop), ())
        if len(factors) == _LEVELS and closest_tiling(extent, factors)[1:] != factors[1:]:
            for rounder in rounder_extents(extent, math.prod(factors[1:])):
                yield block, loop, rounder


def rounder_extents(extent: int, inner: int) -> list[int]:
    """Larger extents that tile well, ascending: multiples of `inner` and of powers of two."""
    steps = {inner, *ROUND_STEPS} - {1}
    rounder = {math.ceil(extent / step) * step for step in steps} - {extent}
    return sorted(each for each in rounder if each <= (1 + MOST_WASTE) * extent)
