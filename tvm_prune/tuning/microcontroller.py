"""Schedules by rule for processors where registers count, not caches: microcontrollers.

A contraction (convolution, depthwise convolution, matrix product) computes a small tile of its
output at once and keeps it in floating-point registers: a tile of u by v needs u + v loads for
u * v multiply-accumulates. Padding is copied beforehand, so that the inner loops have no
conditions: for one row of the output, or one channel, at a time, where no element is copied twice
that way, and else as a whole. Only a depthwise convolution that is padded on one side asks two
questions for each element instead, which is faster still: it loads most of them once. Everything
element-wise happens before a tile is stored.

Tile sizes and the place of the padding are decisions of a MetaSchedule trace, so these schedules
transfer to other widths, and tuning starts from them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm.ir import Var
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError
from tvm.target import Target
from tvm.tirx import GE, GT, LE, LT, IntImm, IterVar

from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.pad_places import FOLDED, WHOLE, pads
from tvm_prune.tuning.traces import new_schedule

REGISTERS = 32
"""Single-precision registers of a Cortex-M's floating-point unit."""

LOOP_OVERHEAD = 4
"""Instructions that a turn of the innermost loop costs besides its body, about."""

LONGEST_BODY = 160
"""Most multiply-accumulates of an innermost loop: what is written out takes flash."""

MOST_STEPS = 16
"""Most steps of a sum that are written out."""

ONE_SIDED = 2
"""Comparisons that padding takes which is below and right of an image only."""


def is_microcontroller(target: Target) -> bool:
    """Whether a target is a processor that these rules are for."""
    return str(target.attrs.get("mcpu", "")).startswith("cortex-m")


def rule_schedule(workload: Workload) -> Schedule:
    """A schedule without search or measurement.

    Kernels that the rule is not for stay as they are: those with more than one reduction (softmax,
    normalisation) or more than one result.
    """
    schedule, whole = new_schedule(workload), new_schedule(workload)
    try:
        copied = _apply(schedule)
        return whole if copied and _apply(whole, whole=True) < copied else schedule
    except ScheduleError:
        return new_schedule(workload)


def _apply(schedule: Schedule, *, whole: bool = False) -> int:
    """Apply the rule.

    Args:
        schedule: of an unscheduled kernel.
        whole: whether padding is copied as a whole, and not as late as it can be.

    Returns:
        Number of elements that are copied to pad.
    """
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    reductions = [i for i, block in enumerate(blocks) if _is_reduction(schedule.get(block))]
    if len(reductions) > 1:
        return 0
    if not reductions:
        _inline(schedule, [], blocks)
        return 0
    [at] = reductions
    padding = _inline(schedule, blocks[:at], blocks[at + 1 :])
    if _has_outputs(schedule.get(blocks[at])):
        last = blocks[at + 1 :][-1:] or [schedule.cache_write(blocks[at], 0, "global")]
        padding = _tile(schedule, blocks[at], last[0], padding, whole=whole)
    look = schedule.copy()  # asking for loops would be part of the trace
    return sum(_extent(look, *look.get_loops(each)) for each in padding)


def _has_outputs(block: Any) -> bool:
    """Whether a reduction has more than one result that loops run over."""
    return any(not _is_summed(axis) for axis in block.iter_vars)


def _is_reduction(block: Any) -> bool:
    return any(_is_summed(axis) for axis in block.iter_vars)


def _is_summed(axis: Any) -> bool:
    return bool(axis.iter_type == IterVar.CommReduce)


def _inline(schedule: Schedule, before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Compute element-wise blocks where their result is used; those that pad are left."""
    padding = []
    for block in before:
        if pads(schedule.get(block)):
            padding.append(schedule.get_sblock(str(schedule.get(block).name_hint)))
        else:
            schedule.compute_inline(block)
    for block in after[:-1]:
        schedule.compute_inline(block)
    return padding


@dataclass(frozen=True)
class _Axes:
    """What the axes of a reduction index, as loops.

    Attributes:
        both: both operands: channels of a depthwise convolution, batches of products.
        first: the first operand only: rows and columns of an image, rows of a matrix.
        second: the second operand only: output channels, columns of a matrix.
        summed: what is summed over.
    """

    both: tuple[Any, ...]
    first: tuple[Any, ...]
    second: tuple[Any, ...]
    summed: tuple[Any, ...]


def _axes(schedule: Schedule, block: Any) -> _Axes:
    content = schedule.get(block)
    written = content.writes[0].source
    used = [_variables(read) for read in content.reads if not read.source.same_as(written)]
    groups: dict[str, list[Any]] = {"both": [], "first": [], "second": [], "summed": []}
    for axis, loop in zip(content.iter_vars, schedule.get_loops(block), strict=True):
        first, *others = [any(axis.var.same_as(v) for v in variables) for variables in used]
        kind = ("both" if first else "second") if any(others) else "first"
        groups["summed" if _is_summed(axis) else kind].append(loop)
    return _Axes(**{name: tuple(loops) for name, loops in groups.items()})


def _variables(region: Any) -> list[Any]:
    found: list[Any] = []
    for extent in region.region:
        tvm_ffi.structural_walk(extent.min, (Var, found.append))
    return found


def _tile(
    schedule: Schedule, block: Any, store: Any, padding: Sequence[Any], *, whole: bool
) -> list[Any]:
    """Keep a tile of a reduction's output in registers until it is complete.

    Returns:
        Those of the blocks that pad which still copy.
    """
    axes = _axes(schedule, block)
    rows, columns = axes.second[-1:], axes.first[-2:]
    outer = [*axes.both, *axes.first[:-2], *axes.second[:-1]]
    padded_at = len(outer) if axes.second else max(len(outer) - 1, 0)
    tiled = (*columns, *rows)
    tile = _best_tile(*([_extent(schedule, loop) for loop in loops] for loops in (rows, columns)))
    inner = []
    for loop, size in zip(tiled, tile, strict=True):
        outside, inside = _split(schedule, loop, size)
        outer.append(outside)
        inner.append(inside)
    turns, steps = _written_out(schedule, axes.summed, LONGEST_BODY // math.prod(tile))
    schedule.reorder(*outer, *turns, *steps, *inner)
    schedule.reverse_compute_at(store, outer[-1])
    copying = []
    for each in padding:
        place = WHOLE if whole else padded_at
        if not axes.second and _comparisons(schedule.get(each)) <= ONE_SIDED:
            place = FOLDED
        else:
            copying.append(each)
        schedule.compute_at(each, schedule.sample_compute_location(each, decision=place))
    schedule.decompose_reduction(block, (*turns, *steps)[0])
    for loop in (*steps, *inner):
        schedule.unroll(loop)
    # The loops that start and store a tile: at other widths there may be fewer of them.
    schedule.annotate(outer[-1], "pragma_auto_unroll_max_step", REGISTERS)
    schedule.annotate(outer[-1], "pragma_unroll_explicit", 1)
    return copying


def _comparisons(block: Any) -> int:
    """Comparisons that a block makes; that an index is not negative goes without saying."""
    found: list[Any] = []
    tvm_ffi.structural_walk(block.body, ((LE, LT, GE, GT), found.append))
    return sum(not (isinstance(each.a, IntImm) and int(each.a.value) == 0) for each in found)


def _best_tile(rows: Sequence[int], columns: Sequence[int]) -> tuple[int, ...]:
    """The tile with fewest instructions for a multiply-accumulate that fits the registers.

    One operand's part of the tile stays in registers while the other's is loaded one by one.

    Args:
        rows: extents of the axes of the second operand, at most one.
        columns: extents of the axes of the first operand, at most two.

    Returns:
        Tile sizes of columns and rows.
    """

    def cost(tile: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        v, u = math.prod(tile[: len(columns)]), math.prod(tile[len(columns) :])
        return (u + v + LOOP_OVERHEAD / 4) / (u * v), tile

    def fits(tile: tuple[int, ...]) -> bool:
        v, u = math.prod(tile[: len(columns)]), math.prod(tile[len(columns) :])
        return u * v + (min(u, v) if rows else 2 * v) + 2 <= REGISTERS

    tiles = itertools.product(*(_divisors(extent) for extent in (*columns, *rows)))
    return min(filter(fits, tiles), key=cost)


def _written_out(
    schedule: Schedule, summed: Sequence[Any], most: int
) -> tuple[list[Any], list[Any]]:
    """Split the loops of a sum into those that turn and those whose steps are written out."""
    left = max(1, min(most, MOST_STEPS))
    turns: list[Any] = []
    steps: list[Any] = []
    for loop in reversed(summed):
        extent = _extent(schedule, loop)
        size = max(divisor for divisor in _divisors(extent) if divisor <= left)
        outside, inside = _split(schedule, loop, size)
        turns.insert(0, outside)
        steps.insert(0, inside)
        left = left // size if size == extent else 1
    return turns, steps


def _split(schedule: Schedule, loop: Any, size: int) -> Sequence[Any]:
    extent = _extent(schedule, loop)
    factors = schedule.sample_perfect_tile(
        loop, n=2, max_innermost_factor=REGISTERS, decision=[extent // size, size]
    )
    return tuple(schedule.split(loop, factors))


def _extent(schedule: Schedule, *loops: Any) -> int:
    return math.prod(int(schedule.get(loop).extent) for loop in loops)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
