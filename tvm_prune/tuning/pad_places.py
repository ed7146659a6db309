"""Where a kernel computes the padding of its input.

A padded copy of the whole input is made once, and takes memory; a copy of the few rows that the
next row of the output needs takes little, but most rows are copied several times; and padding that
is folded into the convolution takes none, but every load asks whether it is inside the input. In a
schedule's trace this is one decision, the compute location of the padding, so that any schedule,
tuned or by rule, can be had with another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_prune.errors import TransferError
from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.traces import LOCATION, new_schedule
from tvm_prune.tuning.transfer import transfer

FOLDED = -2
"""The location of padding that is computed where it is read."""

WHOLE = -1
"""The location of padding that is copied before anything else."""

_DEEPEST = 6
"""Innermost loop that padding is copied in."""


def padding_blocks(workload: Workload) -> tuple[str, ...]:
    """Names of the blocks that pad an input of a kernel."""
    schedule = new_schedule(workload)
    blocks = [schedule.get(each) for each in schedule.get_child_blocks(schedule.get_sblock("root"))]
    return tuple(str(block.name_hint) for block in blocks if pads(block))


def pads(block: Any) -> bool:
    """Whether a block copies with a condition."""
    return block.init is None and "if_then_else" in str(block.body)


def folded(schedule: Schedule, workload: Workload, target: Target) -> Schedule | None:
    """The same schedule with its padding folded in; None where that cannot be."""
    return _placed(schedule.trace, padding_blocks(workload), FOLDED, workload, target)


def moved_padding(schedule: Schedule, workload: Workload, target: Target) -> Iterator[Schedule]:
    """The same schedule with its padding in every other place.

    Args:
        schedule: of the kernel.
        workload: the kernel, unscheduled.
        target: what it is for.
    """
    names = padding_blocks(workload)
    seen = {_locations(schedule.trace, names)}
    for location in (FOLDED, WHOLE, *range(_DEEPEST + 1)):
        placed = _placed(schedule.trace, names, location, workload, target)
        if placed is not None and (found := _locations(placed.trace, names)) not in seen:
            seen.add(found)
            yield placed


def _placed(
    trace: Any, names: tuple[str, ...], location: int, workload: Workload, target: Target
) -> Schedule | None:
    for position, instruction in enumerate(_instructions(trace, names)):
        if int(trace.get_decision(instruction)) != location:
            moved = _instructions(trace, names)[position]
            trace = trace.with_decision(moved, location, remove_postproc=True)
    try:
        return transfer(trace, workload, target)
    except TransferError:
        return None


def _locations(trace: Any, names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(trace.get_decision(each)) for each in _instructions(trace, names))


def _instructions(trace: Any, names: tuple[str, ...]) -> list[Any]:
    """The instructions of a trace that decide where the padding blocks are computed."""
    blocks: list[Any] = []
    found = []
    for instruction in trace.insts:
        if instruction.kind.name == "GetSBlock" and str(instruction.attrs[0]) in names:
            blocks.append(instruction.outputs[0])
        elif instruction.kind.name == LOCATION and any(
            instruction.inputs[0].same_as(block) for block in blocks
        ):
            found.append(instruction)
    return found
