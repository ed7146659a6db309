"""Outputs that take the place of an input: element-wise operations need no memory of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm.s_tir import Schedule
from tvm.tirx import IterVar, PrimFunc

from tvm_prune.mcu.program import Buffer, Program

Places = Mapping[Buffer, Buffer]
"""For each buffer that takes the place of another one, that one."""


def places_taken(program: Program) -> Places:
    """Which outputs of a program's calls take the place of an input that nobody reads any more."""
    overwritable = {
        name: overwritable_inputs(function) for name, function in program.kernels.items()
    }
    last = _last_reads(program)
    taken: dict[Buffer, Buffer] = {}
    for step, call in enumerate(program.calls):
        for position in overwritable[call.kernel]:
            old = call.inputs[position]
            if (
                isinstance(old, Buffer)
                and last[old] == step
                and call.inputs.count(old) == 1
                and old.bytes == call.outputs[0].bytes
            ):
                taken[call.outputs[0]] = old
                break
    return taken


def kernels_in_place(program: Program, places: Places) -> frozenset[str]:
    """Names of the kernels that write where they read in some call."""
    return frozenset(
        call.kernel for call in program.calls if any(output in places for output in call.outputs)
    )


def overwritable_inputs(function: PrimFunc) -> tuple[int, ...]:
    """Inputs whose memory a kernel's output may take, whatever its schedule.

    Such an input is read at the very position that is written, by blocks that neither sum nor move
    anything, down to the block that writes the output; so no element is read after it was written.

    Args:
        function: an unscheduled kernel.

    Returns:
        Positions among its parameters; nothing for a kernel with several outputs.
    """
    blocks = _blocks(function)
    written = [block.writes[0].source for block in blocks]
    outputs = [
        position
        for position, parameter in enumerate(function.params)
        if any(parameter.same_as(each) for each in written)
    ]
    if outputs != [len(function.params) - 1]:
        return ()
    output = function.params[-1]
    return tuple(
        position
        for position, parameter in enumerate(function.params[:-1])
        if _shape(parameter) == _shape(output) and _flows_in_place(parameter, output, blocks)
    )


def _blocks(function: PrimFunc) -> list[Any]:
    schedule = Schedule(function, debug_mask="none")
    return [schedule.get(block) for block in schedule.get_child_blocks(schedule.get_sblock("root"))]


def _flows_in_place(start: Any, output: Any, blocks: list[Any]) -> bool:
    """Whether everything that depends on a tensor does so element by element."""
    dependent = [start]
    for block in blocks:
        reads = [r for r in block.reads if any(r.source.same_as(each) for each in dependent)]
        if not reads:
            continue
        target = block.writes[0]
        if len(block.writes) > 1 or any(a.iter_type == IterVar.CommReduce for a in block.iter_vars):
            return False
        if _shape(target.source) != _shape(output) or not all(
            _same_place(read, target) for read in reads
        ):
            return False
        dependent.append(target.source)
    return any(output.same_as(each) for each in dependent)


def _same_place(read: Any, write: Any) -> bool:
    return len(read.region) == len(write.region) and all(
        a.min.same_as(b.min) and int(a.extent) == int(b.extent) == 1
        for a, b in zip(read.region, write.region, strict=True)
    )


def _shape(buffer: Any) -> tuple[str, tuple[int, ...]]:
    return str(buffer.dtype), tuple(int(extent) for extent in buffer.shape)


def _last_reads(program: Program) -> dict[Buffer, int]:
    """Step at which each buffer is read last; outputs of the program are read in the end."""
    last: dict[Buffer, int] = {}
    for step, call in enumerate(program.calls):
        last |= {each: step for each in call.inputs if isinstance(each, Buffer)}
    last |= {each: len(program.calls) for each in program.outputs if isinstance(each, Buffer)}
    return last
