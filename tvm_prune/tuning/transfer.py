"""Use a tuned schedule at another width.

A MetaSchedule trace is a program: instructions that split, reorder and inline, and decisions of
the search. Run on the same kernel with other extents, only the decisions about tile sizes cease to
fit; they are replaced by the closest ones that do. This costs milliseconds, where tuning afresh
costs minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.tuning.context import postprocess, tune_context
from tvm_prune.tuning.database import best_record
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.tiling import closest_tiling

_TILE = "SamplePerfectTile"
_CHOICE = "SampleCategorical"
_LOCATION = "SampleComputeLocation"
_RFACTOR = "RFactor"
_LARGEST_VECTOR = 16
_ROWS_IN_REGISTERS = 4
_DEPTH = 4


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
        product = 1
        for factor in self.factors:
            product *= factor
        return product


def tuned_trace(database: Any, workload: Workload, target: Target) -> Trace | None:
    """The trace of the fastest schedule in `database` for this very workload, or None."""
    record = best_record(database, workload, target)
    return None if record is None else record.trace


def transfer(trace: Trace, workload: Workload, target: Target) -> Schedule:
    """Schedule a workload with a trace that was tuned for the same kernel at other extents.

    Args:
        trace: from :func:`tuned_trace` or :func:`trace_from_json`.
        workload: the same kernel, at any extents.
        target: the target that the trace was tuned for.

    Returns:
        A schedule of ``workload.mod`` with vector, parallel and unrolled loops in place.

    Raises:
        TransferError: if the kernel has another structure than the trace expects, or the result is
            rejected by the target's post-processors.
    """
    schedule = _schedule(workload)
    try:
        trace.apply_to_schedule(
            schedule,
            remove_postproc=True,
            decision_provider=lambda instruction, inputs, _attributes, decision: _fitting_decision(
                schedule, instruction, inputs, decision
            ),
        )
        accepted = postprocess(schedule, tune_context(workload.mod, target))
    except Exception as error:
        raise TransferError(
            f"the tuned schedule does not apply to kernel {workload.key}: {_cause(error)}"
        ) from error
    if not accepted:
        raise TransferError(
            f"the tuned schedule does not suit kernel {workload.key}: "
            "a post-processor of the target rejects it"
        )
    return schedule


def default_schedule(workload: Workload, target: Target) -> Schedule:
    """A decent schedule without any measurement: vector, parallel and tiled loops.

    It is a point of MetaSchedule's own design space, with tile sizes by rule instead of by search:
    the innermost loop fills vectors, the next one registers, and reductions stay in one piece.

    Raises:
        TuningError: if no point of the design space applies.
    """
    context = tune_context(workload.mod, target)
    causes = []
    candidates = reversed(context.generate_design_space())
    for candidate in sorted(candidates, key=lambda candidate: _count(candidate.trace, _RFACTOR)):
        schedule = _schedule(workload)
        slots = iter(_rule_of_thumb(tile_slots(candidate.trace)))
        try:
            candidate.trace.apply_to_schedule(
                schedule,
                remove_postproc=True,
                decision_provider=lambda instruction, _inputs, _attributes, decision, slots=slots: (
                    next(slots) if instruction.kind.name == _TILE else decision
                ),
            )
            if postprocess(schedule, context):
                return schedule
            causes.append("rejected by a post-processor")
        except Exception as error:
            causes.append(_cause(error))
    raise TuningError(f"kernel {workload.key} has no valid schedule: {'; '.join(causes)}")


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
        elif name == _TILE:
            block, loop = loops.get(instruction.inputs[0], ("", -1))
            slots.append(TileSlot(block, loop, _integers(trace.get_decision(instruction))))
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
    schedule = _schedule(workload)
    Trace.apply_json_to_schedule(json.loads(text), schedule)
    return schedule.trace


def _fitting_decision(
    schedule: Schedule, instruction: Any, inputs: Sequence[Any], decision: Any
) -> Any:
    """The old decision where it fits the new extents, or the closest one that does.

    TVM itself moves a compute location to the nearest loop there is, and refuses a categorical
    choice outside its candidates.
    """
    if instruction.kind.name == _TILE:
        return closest_tiling(int(schedule.get(inputs[0]).extent), _integers(decision))
    return decision


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


def _count(trace: Trace, kind: str) -> int:
    return sum(instruction.kind.name == kind for instruction in trace.insts)


def _schedule(workload: Workload) -> Schedule:
    return Schedule(workload.mod, seed=1, debug_mask="none", error_render_level="detail")


def _integers(decision: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in decision)


def _cause(error: Exception) -> str:
    """The informative line of a TVM exception, whose message quotes the module it is about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line]
    return f"{type(error).__name__}: {(told or lines or ['no message'])[0].rstrip(' :')}"
