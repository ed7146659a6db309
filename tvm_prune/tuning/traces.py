"""What is in a MetaSchedule trace: tile sizes, other decisions, and its text form."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace

from tvm_prune.tuning.kernels import Workload

TILE = "SamplePerfectTile"
_CHOICE = "SampleCategorical"
_LOCATION = "SampleComputeLocation"


@dataclass(frozen=True)
class TileSlot:
    """One loop that a trace tiles.

    Attributes:
        block: name of the block whose loop is tiled; empty where the loop was made by the trace.
        loop: which loop of the block, outermost first; -1 where the loop was made by the trace.
        factors: tile sizes, outermost first; their product is the loop's extent.
    """

    block: str
    loop: int
    factors: tuple[int, ...]

    @property
    def extent(self) -> int:
        """Extent of the loop."""
        return math.prod(self.factors)


def tile_slots(trace: Trace) -> tuple[TileSlot, ...]:
    """The loops that a trace tiles, in its order.

    Give it the trace of a tuned schedule for the factors that were found, or ``schedule.trace`` of
    a transferred one for those in use. With the extents of another width and
    :func:`~tvm_prune.tuning.tiling.closest_tiling`, the factors that :func:`transfer` would use
    there follow without applying anything.
    """
    loops: dict[Any, tuple[str, int]] = {}
    blocks: dict[Any, str] = {}
    slots = []
    for instruction in trace.insts:
        name = instruction.kind.name
        if name == "GetSBlock":
            blocks[instruction.outputs[0]] = str(instruction.attrs[0])
        elif name == "GetLoops":
            block = blocks.get(instruction.inputs[0], "")
            loops.update({loop: (block, i) for i, loop in enumerate(instruction.outputs)})
        elif name == TILE:
            block, loop = loops.get(instruction.inputs[0], ("", -1))
            slots.append(TileSlot(block, loop, integers(trace.get_decision(instruction))))
    return tuple(slots)


def knobs(trace: Trace) -> tuple[int, ...]:
    """The other decisions of a trace, in its order: unrolling steps and compute locations."""
    values = []
    for instruction in trace.insts:
        decision = trace.get_decision(instruction)
        if instruction.kind.name == _CHOICE:
            values.append(int(instruction.attrs[0][int(decision)]))
        elif instruction.kind.name == _LOCATION:
            values.append(int(decision))
    return tuple(values)


def trace_to_json(trace: Trace) -> str:
    """A trace as text; a pickled one would crash the process that uses it."""
    return json.dumps(trace.as_json(), default=lambda number: number.value)


def trace_from_json(text: str, workload: Workload) -> Trace:
    """Read a trace back; it must be read for the workload that it was tuned for."""
    schedule = new_schedule(workload)
    Trace.apply_json_to_schedule(json.loads(text), schedule)
    return schedule.trace


def new_schedule(workload: Workload) -> Schedule:
    """An empty, reproducible schedule of a workload."""
    return Schedule(workload.mod, seed=1, debug_mask="none", error_render_level="detail")


def integers(decision: Any) -> tuple[int, ...]:
    """A tile decision as Python integers."""
    return tuple(int(number) for number in decision)


def cause_of(error: Exception) -> str:
    """The informative line of a TVM exception, whose message quotes the module it is about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line]
    return f"{type(error).__name__}: {(told or lines or ['no message'])[0].rstrip(' :')}"
