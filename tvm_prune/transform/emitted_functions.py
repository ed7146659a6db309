"""Functions that importers emit through ``call_tir``, and the Relax op each stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm_ffi
from numpy.typing import NDArray
from tvm import relax, tirx
from tvm.ir.expr import TensorLoad
from tvm.sym import Analyzer

from tvm_prune.transform.emitted_einsum import raised_einsum


@dataclass(frozen=True)
class Emitted:
    """One ``call_tir`` with the function it calls.

    Attributes:
        call: the call, with its type.
        function: the PrimFunc.
    """

    call: Any
    function: Any

    @property
    def operands(self) -> list[Any]:
        """Tensor arguments."""
        return list(self.call.args[1].fields)

    @property
    def before(self) -> list[int]:
        """Shape of the first operand."""
        return _shape(self.operands[0])

    @property
    def after(self) -> list[int]:
        """Shape of the result."""
        return _shape(self.call)

    def found(self, kind: Any) -> list[Any]:
        """Nodes of one kind in the body of the function, in order."""
        nodes: list[Any] = []
        tvm_ffi.structural_walk(self.function.body, (kind, nodes.append))
        return nodes

    @property
    def value(self) -> Any:
        """What the function stores at every position of its result."""
        return self.found(tirx.BufferStore)[0].value

    def is_plain(self) -> bool:
        """Whether the function stores once, and reads every operand once."""
        stores, loads = self.found(tirx.BufferStore), self.found(TensorLoad)
        return len(stores) == 1 and len(loads) == len(self.operands)

    def copies(self) -> bool:
        """Whether the function moves positions of its one operand and computes nothing."""
        return self.is_plain() and isinstance(self.value, TensorLoad)

    def source_positions(self, axis: int, count: int) -> NDArray[np.int64]:
        """Where the first positions of the result's axis are read from, shape (count,)."""
        (store,), (load,) = self.found(tirx.BufferStore), self.found(TensorLoad)
        variable, index = store.indices[axis], load.indices[axis]
        analyzer = Analyzer()
        found = []
        for position in range(count):
            at = tirx.IntImm(variable.ty.dtype, position)
            placed = tvm_ffi.structural_map(
                index, (tirx.Var, lambda var, at=at: at if var.same_as(variable) else var)
            )
            found.append(int(analyzer.simplify(placed)))
        return np.array(found, dtype=np.int64)


def _shape(expr: Any) -> list[int]:
    return [int(extent) for extent in expr.ty.shape.values]


def _extremum(op: Callable[[Any, Any], Any], computes: Any) -> Callable[[Emitted], Any | None]:
    """A bound of a clip; it may be a number in the body of the function."""

    def build(emitted: Emitted) -> Any | None:
        operands = emitted.operands
        if not emitted.is_plain() or not isinstance(emitted.value, computes):
            return None
        if len(operands) == 1:
            operands += [relax.const(emitted.value.b.value, emitted.call.ty.dtype)]
        return op(*operands)

    return build


def _flip(emitted: Emitted) -> Any:
    for axis, extent in enumerate(emitted.before):
        if extent > 1 and emitted.source_positions(axis, 1)[0] > 0:
            return relax.op.flip(emitted.operands[0], axis)
    return emitted.operands[0]


def _tile(emitted: Emitted) -> Any:
    added = len(emitted.after) - len(emitted.before)
    before = [1] * added + emitted.before
    repeats = [new // old for old, new in zip(before, emitted.after, strict=True)]
    return relax.op.tile(emitted.operands[0], repeats)


def _constant_pad(emitted: Emitted) -> Any | None:
    if emitted.copies():
        return emitted.operands[0] if emitted.before == emitted.after else None
    inside_or_filler: Any = getattr(emitted.value, "args", ())
    if not emitted.is_plain() or len(inside_or_filler) != 3:
        return None
    _, inside, filler = inside_or_filler
    if not isinstance(inside, TensorLoad) or not hasattr(filler, "value"):
        return None
    widths = _pad_widths(emitted, lambda positions, _extent: int(-positions[0]))
    return relax.op.nn.pad(emitted.operands[0], widths, "constant", float(filler.value))


def _reflect_pad(emitted: Emitted) -> Any:
    widths = _pad_widths(emitted, lambda positions, _extent: int(positions[0]))
    return relax.op.nn.pad(emitted.operands[0], widths, "reflect")


def _replicate_pad(emitted: Emitted) -> Any:
    widths = _pad_widths(emitted, lambda positions, _extent: int((positions == 0).sum()) - 1)
    return relax.op.nn.pad(emitted.operands[0], widths, "replicate")


def _circular_pad(emitted: Emitted) -> Any:
    widths = _pad_widths(emitted, lambda positions, extent: int(-positions[0] % extent))
    return relax.op.nn.pad(emitted.operands[0], widths, "circular")


def _pad_widths(
    emitted: Emitted, width_before: Callable[[NDArray[np.int64], int], int]
) -> list[int]:
    """Positions added before and after each axis, read off the positions a pad copies."""
    widths: list[int] = []
    for axis, (old, new) in enumerate(zip(emitted.before, emitted.after, strict=True)):
        added = new - old
        if added == 0:
            widths += [0, 0]
            continue
        before = width_before(emitted.source_positions(axis, added + 1), old)
        widths += [before, added - before]
    return widths


def _copying(build: Callable[[Emitted], Any]) -> Callable[[Emitted], Any | None]:
    """The same, for functions that copy: others only share the name."""
    return lambda emitted: build(emitted) if emitted.copies() else None


def _einsum(emitted: Emitted) -> Any:
    return raised_einsum(emitted.function, emitted.operands)


def raised(emitted: Emitted, name: str) -> Any | None:
    """The Relax op that an emitted function stands for, or None where it is not known."""
    build = EMITTED.get(name.rstrip("0123456789").rstrip("_"))
    return None if build is None else build(emitted)


EMITTED: Mapping[str, Callable[[Emitted], Any | None]] = {
    "maximum": _extremum(relax.op.maximum, tirx.Max),
    "minimum": _extremum(relax.op.minimum, tirx.Min),
    "flip": _copying(_flip),
    "tile": _copying(_tile),
    "pad": _constant_pad,
    "mirror_pad": _copying(_reflect_pad),
    "replicate_pad": _copying(_replicate_pad),
    "circular_pad": _copying(_circular_pad),
    "einsum": _einsum,
}
"""One row a function, by the name its TOPI function gives it."""
