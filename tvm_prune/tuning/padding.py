"""Round a loop of a kernel up, so that it tiles.

A channel loop of prime extent has no tiling but the trivial one, and a kernel without register
tiles can be ten times slower. Here the loop runs on to a rounder extent: what it computes beyond
the old one goes to a part of the intermediate buffer that nobody reads, and is computed from the
last valid channel, so that no load leaves its buffer. No data is copied and no branch is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import Range
from tvm.ir.expr import TensorLoad, Var
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm_ffi import structural_map

from tvm_prune.errors import TransferError
from tvm_prune.tuning.kernels import Workload


@dataclass(frozen=True)
class Nest:
    """A block of a kernel and the loops around it.

    Attributes:
        position: index of the statement in the kernel's body.
        loops: the loops, outermost first.
        realize: the block, bound to the loops.
    """

    position: int
    loops: tuple[Any, ...]
    realize: Any

    @property
    def block(self) -> Any:
        """The block itself."""
        return self.realize.block


def nests(workload: Workload) -> Iterator[Nest]:
    """The blocks of an unscheduled kernel, in program order, that have loops of their own."""
    body = workload.mod["main"].body.block.body
    statements = body.seq if isinstance(body, tirx.SeqStmt) else [body]
    for position, statement in enumerate(statements):
        loops = []
        while isinstance(statement, tirx.For):
            loops.append(statement)
            statement = statement.body
        if isinstance(statement, SBlockRealize):
            yield Nest(position, tuple(loops), statement)


def paddable_loops(workload: Workload) -> dict[tuple[str, int], int]:
    """Loops that :func:`padded` accepts: (block, index of the loop) to extent.

    They are spatial loops of reductions into an intermediate buffer. The buffer's last dimension
    is left out: it is the one that vectors run along, and clamped loads cannot be vectors.
    """
    intermediate = workload.mod["main"].body.block.alloc_buffers
    found = {}
    for nest in nests(workload):
        block = nest.block
        if block.init is None or not any(_written(block).same_as(each) for each in intermediate):
            continue
        indices = [region.min for region in block.writes[0].region][:-1]
        for position, axis in enumerate(block.iter_vars):
            extent = int(axis.dom.extent)
            bound_to_loop = nest.realize.iter_values[position].same_as(
                nest.loops[position].loop_var
            )
            if extent > 1 and bound_to_loop and sum(i.same_as(axis.var) for i in indices) == 1:
                found[block.name_hint, position] = extent
    return found


def padded(workload: Workload, block: str, loop: int, extent: int) -> Workload:
    """The same kernel with one loop rounded up.

    Args:
        workload: an unscheduled kernel.
        block: name of the block that the loop belongs to.
        loop: index of the loop, from :func:`paddable_loops`.
        extent: its new extent, at least the old one.

    Returns:
        A kernel with the same parameters and results.

    Raises:
        TransferError: if the loop cannot be padded to that extent.
    """
    old = paddable_loops(workload).get((block, loop))
    if old is None or extent < old:
        raise TransferError(
            f"loop {loop} of block '{block}' (extent {old}) cannot be padded to {extent}"
        )
    function = workload.mod["main"]
    realize = function.body
    root = realize.block
    nest = next(nest for nest in nests(workload) if nest.block.name_hint == block)
    buffer = _written(nest.block)
    wider = _wider_buffer(nest.block, loop, extent)
    statements = list(root.body.seq)
    statements[nest.position] = _longer_nest(nest, loop, old, extent)
    body = structural_map(
        tirx.SeqStmt(statements), (Var, lambda var: wider if var.same_as(buffer) else var)
    )
    buffers = [wider if each.same_as(buffer) else each for each in root.alloc_buffers]
    new_root = _with(root, body=body, alloc_buffers=buffers)
    new_body = SBlockRealize(realize.iter_values, realize.predicate, new_root)
    return Workload(tvm.IRModule({"main": function.with_body(new_body)}))


def _written(block: Any) -> Any:
    return block.writes[0].source


def _wider_buffer(block: Any, loop: int, extent: int) -> Any:
    buffer, axis = _written(block), block.iter_vars[loop].var
    shape = [
        _integer(extent) if region.min.same_as(axis) else size
        for size, region in zip(buffer.shape, block.writes[0].region, strict=True)
    ]
    return tirx.decl_buffer(shape, buffer.dtype, buffer.name)


def _longer_nest(nest: Nest, loop: int, old: int, extent: int) -> Any:
    """The loops and their block, with one loop running further."""
    statement: Any = SBlockRealize(
        nest.realize.iter_values,
        nest.realize.predicate,
        _longer_block(nest.block, loop, old, extent),
    )
    for index in range(len(nest.loops) - 1, -1, -1):
        each = nest.loops[index]
        size = _integer(extent) if index == loop else each.extent
        statement = tirx.For(
            each.loop_var, each.min, size, each.kind, statement, each.thread_binding,
            each.annotations,
        )  # fmt: skip
    return statement


def _longer_block(block: Any, loop: int, old: int, extent: int) -> Any:
    """The block over the longer loop; loads stay within the old extent."""
    axes = list(block.iter_vars)
    axis = axes[loop]
    axes[loop] = tirx.IterVar(
        Range.from_min_extent(axis.dom.min, _integer(extent)),
        axis.var, axis.iter_type, axis.thread_tag,
    )  # fmt: skip
    last = tirx.min(axis.var, _integer(old - 1))
    buffer = _written(block)

    def clamped(index: Any) -> Any:
        return structural_map(index, (Var, lambda var: last if var.same_as(axis.var) else var))

    def load(value: Any) -> Any:
        if value.source.same_as(buffer):
            return value
        return tirx.BufferLoad(value.source, [clamped(index) for index in value.indices])

    def region(read: Any) -> Any:
        if read.source.same_as(buffer):
            return read
        ranges = [Range.from_min_extent(clamped(each.min), each.extent) for each in read.region]
        return tirx.BufferRegion(read.source, ranges)

    return _with(
        block,
        iter_vars=axes,
        reads=[region(read) for read in block.reads],
        body=structural_map(block.body, (TensorLoad, load)),
    )


def _with(block: Any, **changes: Any) -> Any:
    """A copy of a block with some fields replaced."""
    names = (
        "iter_vars", "reads", "writes", "name_hint", "body", "init", "alloc_buffers",
        "match_buffers", "annotations",
    )  # fmt: skip
    return SBlock(*(changes.get(name, getattr(block, name)) for name in names))


def _integer(value: int) -> Any:
    return tirx.const(value, "int64")
