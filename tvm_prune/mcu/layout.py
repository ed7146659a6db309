"""Where a program's memory lies: buffers and workspaces in the arena, weights in flash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm_prune.mcu.arena import Arena, Span, plan_arena
from tvm_prune.mcu.in_place import Places
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


def laid_out(
    program: Program,
    signatures: Mapping[str, Signature],
    *,
    share: bool,
    places: Places | None = None,
) -> Layout:
    """Place a program's memory.

    Args:
        program: the model.
        signatures: what each kernel takes, by its name.
        share: whether buffers that are never alive together may share bytes.
        places: buffers that take the place of others.
    """
    owned = _owners(program, places or {})
    spans = _merged(buffer_spans(program) if share else _always(program), owned)
    buffers = list(spans)
    wanted = list(spans.values())
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
    offsets = dict(zip(buffers, arena.offsets, strict=False))
    return Layout(
        arena,
        {buffer: offsets[owner] for buffer, owner in owned.items()},
        tuple(map(tuple, workspaces)),
        constants,
        weights,
    )


def shared_spans(program: Program, places: Places) -> dict[Buffer, Span]:
    """When each place in the arena is taken, by whichever buffers take it one after the other."""
    return _merged(buffer_spans(program), _owners(program, places))


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


def _owners(program: Program, places: Places) -> dict[Buffer, Buffer]:
    """For every buffer the one whose place it has in the end, itself for most."""
    owners: dict[Buffer, Buffer] = {buffer: buffer for buffer in program.inputs}
    for call in program.calls:
        for buffer in call.outputs:
            owners[buffer] = owners[places[buffer]] if buffer in places else buffer
    return owners


def _merged(spans: Mapping[Buffer, Span], owners: Mapping[Buffer, Buffer]) -> dict[Buffer, Span]:
    """One span for all buffers of one place."""
    merged: dict[Buffer, Span] = {}
    for buffer, span in spans.items():
        known = merged.get(owners[buffer], span)
        merged[owners[buffer]] = Span(
            max(known.bytes, span.bytes),
            min(known.first, span.first),
            max(known.last, span.last),
        )
    return merged


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
