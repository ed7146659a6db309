"""Schedules without search, for kernels that were not tuned or cannot use a tuned schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tvm_prune.errors import TuningError
from tvm_prune.tuning.context import postprocess, tune_context
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.microcontroller import is_microcontroller, rule_schedule
from tvm_prune.tuning.tiling import closest_tiling
from tvm_prune.tuning.traces import (
    TILE,
    TileSlot,
    cause_of,
    instruction_kinds,
    new_schedule,
    tile_slots,
    tile_slots_of_text,
    with_tilings,
)

_RFACTOR = "RFactor"
_LARGEST_VECTOR = 16
_ROWS_IN_REGISTERS = 4
_DEPTH = 4


def default_schedule(workload: Workload, target: Target) -> Schedule:
    """A decent schedule without any measurement: vector, parallel and tiled loops.

    Microcontrollers have rules of their own (:mod:`tvm_prune.tuning.microcontroller`). Elsewhere it
    is a point of MetaSchedule's own design space, with tile sizes by rule instead of by search:
    the innermost loop fills vectors, the next one registers, and reductions stay in one piece.

    Raises:
        TuningError: if no point of the design space applies.
    """
    if is_microcontroller(target):
        return rule_schedule(workload)
    context = tune_context(workload.mod, target)
    causes = []
    candidates = reversed(context.generate_design_space())
    for candidate in sorted(candidates, key=lambda candidate: _rfactors(candidate.trace)):
        schedule = new_schedule(workload)
        slots = iter(_rule_of_thumb(tile_slots(candidate.trace)))
        try:
            candidate.trace.apply_to_schedule(
                schedule,
                remove_postproc=True,
                decision_provider=lambda instruction, _inputs, _attributes, decision, slots=slots: (
                    next(slots) if instruction.kind.name == TILE else decision
                ),
            )
            if postprocess(schedule, context):
                return schedule
            causes.append("rejected by a post-processor")
        except Exception as error:
            causes.append(cause_of(error))
    raise TuningError(f"kernel {workload.key} has no valid schedule: {'; '.join(causes)}")


@dataclass(frozen=True)
class Design:
    """A point of the design space that MetaSchedule has for a workload.

    Attributes:
        trace: its tile sizes are by chance.
    """

    trace: Trace

    @cached_property
    def slots(self) -> tuple[TileSlot, ...]:
        """The loops that it tiles."""
        return tile_slots(self.trace)

    @cached_property
    def kinds(self) -> list[str]:
        """Kinds of its instructions."""
        return [instruction.kind.name for instruction in self.trace.insts]


def design_space(workload: Workload, target: Target, context: Any | None = None) -> list[Design]:
    """MetaSchedule's design space for a workload.

    Args:
        workload: an unscheduled kernel.
        target: what it is for.
        context: from :func:`~tvm_prune.tuning.context.tune_context` for both; a new one by default.
    """
    context = context or tune_context(workload.mod, target)
    return [Design(schedule.trace) for schedule in context.generate_design_space()]


def adapted_trace(text: str, workload: Workload, designs: Sequence[Design]) -> Trace:
    """Give the tile sizes of a tuned trace to a kernel with the same core but another epilogue.

    Args:
        text: a trace as text.
        workload: the kernel; its core has the same name and loops as the tuned one's.
        designs: from :func:`design_space`, for any workload of its structure.

    Returns:
        The point of the workload's design space that resembles the trace most, with its tile
        sizes, whether they fit the extents or not: :func:`~tvm_prune.tuning.transfer.transfer`
        makes them fit.

    Raises:
        TuningError: if the design space has no loop that the trace tiles.
    """
    tuned = {(slot.block, slot.loop): slot.factors for slot in tile_slots_of_text(text)}
    kinds = instruction_kinds(text)
    tiled = [
        design
        for design in designs
        if any((slot.block, slot.loop) in tuned for slot in design.slots)
    ]
    if not tiled:
        raise TuningError(f"kernel {workload.key} has no loop that the trace tiles")
    nearest = max(
        tiled,
        key=lambda design: SequenceMatcher(None, kinds, design.kinds, autojunk=False).ratio(),
    )
    return with_tilings(
        nearest.trace,
        [
            tuned.get((slot.block, slot.loop), by_rule)
            for slot, by_rule in zip(nearest.slots, _rule_of_thumb(nearest.slots), strict=True)
        ],
    )


def _rule_of_thumb(slots: Sequence[TileSlot]) -> list[tuple[int, ...]]:
    """Tile sizes for every slot; spatial loops have four levels, reductions two."""
    spatial = [slot for slot in slots if len(slot.factors) > 2]
    wide = [slot for slot in spatial if slot.extent > 1][-2:]
    wanted = dict(zip(wide[::-1], (_LARGEST_VECTOR, _ROWS_IN_REGISTERS), strict=False))
    tilings = []
    for slot in slots:
        inner = wanted.get(slot, 1 if len(slot.factors) > 2 else _DEPTH)
        tilings.append(closest_tiling(slot.extent, [1] * (len(slot.factors) - 1) + [inner]))
    return tilings


def _rfactors(trace: Any) -> int:
    """How many reductions a trace splits into parts that are summed up later."""
    return sum(instruction.kind.name == _RFACTOR for instruction in trace.insts)
