"""What is in a MetaSchedule trace: tile sizes, other decisions, and its text form."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace

from tvm_prune.errors import TransferError
from tvm_prune.tuning.kernels import Workload

TILE = "SamplePerfectTile"
_CHOICE = "SampleCategorical"
LOCATION = "SampleComputeLocation"
_POSTPROC = "EnterPostproc"


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
    return _tile_slots(_as_json(trace))


def tile_slots_of_text(text: str) -> tuple[TileSlot, ...]:
    """The same of a trace as text, for which no workload is needed."""
    return _tile_slots(json.loads(text))


def instruction_kinds(text: str) -> list[str]:
    """Kinds of the instructions of a trace as text, in its order."""
    return [str(kind) for kind, *_ in json.loads(text)[0]]


def _tile_slots(content: Any) -> tuple[TileSlot, ...]:
    instructions, decisions = content
    decided = dict(decisions)
    loops: dict[str, tuple[str, int]] = {}
    blocks: dict[str, str] = {}
    slots = []
    for index, (kind, inputs, attributes, outputs) in enumerate(instructions):
        if kind == "GetSBlock":
            blocks[outputs[0]] = str(attributes[0])
        elif kind == "GetLoops":
            block = blocks.get(inputs[0], "")
            loops.update({loop: (block, i) for i, loop in enumerate(outputs)})
        elif kind == TILE:
            block, loop = loops.get(inputs[0], ("", -1))
            slots.append(TileSlot(block, loop, integers(decided[index])))
    return tuple(slots)


def knobs(trace: Trace) -> tuple[int, ...]:
    """The other decisions of a trace, in its order: unrolling steps and compute locations."""
    values = []
    for instruction in trace.insts:
        decision = trace.get_decision(instruction)
        if instruction.kind.name == _CHOICE:
            values.append(int(instruction.attrs[0][int(decision)]))
        elif instruction.kind.name == LOCATION:
            values.append(int(decision))
    return tuple(values)


def trace_to_json(trace: Trace) -> str:
    """A trace as text; a pickled one would crash the process that uses it."""
    return json.dumps(_as_json(trace))


def search_trace_to_json(trace: Trace) -> str:
    """What the search decided, as text: the trace without what post-processors added."""
    instructions, decisions = _as_json(trace)
    kinds = [kind for kind, *_ in instructions]
    end = kinds.index(_POSTPROC) if _POSTPROC in kinds else len(kinds)
    return json.dumps([instructions[:end], [entry for entry in decisions if entry[0] < end]])


def trace_from_json(text: str, workload: Workload) -> Trace:
    """Read a trace back, for the workload it was tuned for or one of the same structure.

    The decisions are the old ones, whether they fit the extents of `workload` or not.

    Raises:
        TransferError: if the workload has another structure.
    """
    schedule = new_schedule(workload)
    try:
        Trace.apply_json_to_schedule(json.loads(text), schedule)
    except Exception as error:
        raise TransferError(
            f"the tuned schedule does not apply to kernel {workload.key}: {cause_of(error)}"
        ) from error
    return with_tilings(schedule.trace, [slot.factors for slot in tile_slots_of_text(text)])


def apply_text(text: str, tilings: Sequence[Sequence[int]], schedule: Schedule) -> None:
    """Apply a trace as text with other tile sizes, one tiling for each of its slots.

    Args:
        text: a trace, tuned for a workload of the structure of the schedule's.
        tilings: they fit the extents of the schedule's loops.
        schedule: empty; changed in place.
    """
    instructions, decisions = json.loads(text)
    tiles = (index for index, (kind, *_) in enumerate(instructions) if kind == TILE)
    decided = {**dict(decisions), **dict(zip(tiles, map(list, tilings), strict=True))}
    Trace.apply_json_to_schedule([instructions, [list(e) for e in decided.items()]], schedule)


def with_tilings(trace: Trace, tilings: Sequence[Sequence[int]]) -> Trace:
    """A trace with other tile sizes, one tiling for each of its slots, in their order."""
    tiles = (each for each in trace.insts if each.kind.name == TILE)
    decided = {tile: list(factors) for tile, factors in zip(tiles, tilings, strict=True)}
    return Trace(trace.insts, {**dict(trace.decisions.items()), **decided})


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


def _as_json(trace: Trace) -> Any:
    return json.loads(json.dumps(trace.as_json(), default=lambda number: number.value))
