"""Where a program's memory lies: buffers and workspaces in the arena, weights in flash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm_prune.mcu.arena import Arena, Span, plan_arena
from tvm_prune.mcu.program import Buffer, Constant, Program
from tvm_prune.mcu.unpack import TENSOR_ALIGNMENT, Signature


@dataclass(frozen=True)
class Layout:
    """Places of a program's memory.

    Attributes:
        arena: size of the arena, and its lower bound.
        buffers: offset in the arena of each buffer.
        workspaces: for each call, offset in the arena of each of its workspaces.
        constants: offset in the weights of each constant.
        weights: bytes of all weights.
    """

    arena: Arena
    buffers: Mapping[Buffer, int]
    workspaces: tuple[tuple[int, ...], ...]
    constants: Mapping[Constant, int]
    weights: int


def laid_out(program: Program, signatures: Mapping[str, Signature], *, share: bool) -> Layout:
    """Place a program's memory.

    Args:
        program: the model.
        signatures: what each kernel takes, by its name.
        share: whether buffers that are never alive together may share bytes.
    """
    spans = buffer_spans(program) if share else _always(program)
    buffers = list(spans)
    wanted = [spans[buffer] for buffer in buffers]
    owners = []
    for step, call in enumerate(program.calls):
        for workspace in signatures[call.kernel].workspaces:
            wanted.append(Span(workspace.bytes, step, step))
            owners.append(step)
    arena = plan_arena(wanted, TENSOR_ALIGNMENT)
    workspaces: list[list[int]] = [[] for _ in program.calls]
    for step, offset in zip(owners, arena.offsets[len(buffers) :], strict=True):
        workspaces[step].append(offset)
    constants, weights = _constants(program)
    return Layout(
        arena,
        dict(zip(buffers, arena.offsets, strict=False)),
        tuple(map(tuple, workspaces)),
        constants,
        weights,
    )


def buffer_spans(program: Program) -> dict[Buffer, Span]:
    """When each buffer is alive: from the call that writes it to the last one that reads it.

    Inputs are alive from the start, outputs to the end.
    """
    end = len(program.calls)
    first = dict.fromkeys(program.inputs, 0)
    last = dict.fromkeys(program.inputs, 0)
    for step, call in enumerate(program.calls):
        for buffer in call.outputs:
            first[buffer] = last[buffer] = step
        for argument in call.inputs:
            if isinstance(argument, Buffer):
                last[argument] = step
    for argument in program.outputs:
        if isinstance(argument, Buffer):
            last[argument] = end
    return {buffer: Span(buffer.bytes, first[buffer], last[buffer]) for buffer in first}


def _always(program: Program) -> dict[Buffer, Span]:
    end = len(program.calls)
    return {buffer: Span(buffer.bytes, 0, end) for buffer in buffer_spans(program)}


def _constants(program: Program) -> tuple[dict[Constant, int], int]:
    """Offset of every constant that is used, and their size together."""
    used = [argument for call in program.calls for argument in call.inputs]
    offsets: dict[Constant, int] = {}
    size = 0
    for argument in [*used, *program.outputs]:
        if isinstance(argument, Constant) and argument not in offsets:
            offsets[argument] = size
            size += -(-argument.bytes // TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT
    return offsets, size
