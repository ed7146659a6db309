"""Ops that contract axes of two or more tensors: matrix products and einsum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_prune.channels.labels import AxisLabels, TensorLabels
from tvm_prune.channels.ops.elementwise import broadcast
from tvm_prune.channels.rule import OpCall, OpRule, OpTable, Rewrite, same_op

Mask = NDArray[np.bool_]


def matmul(call: OpCall) -> TensorLabels:
    """Rows and columns give the result's labels; the contracted axes are tied.

    Batch axes are broadcast. Removed channels of a contracted axis do not count, whatever their
    values are.
    """
    left, right = call.tensor(0), call.tensor(1)
    call.tie(left[-1], _contracted(right))
    batch = broadcast(call, [left[:-2], right[:-2]]) if len(left) > 2 or len(right) > 2 else ()
    rows = left[-2:-1] if len(left) > 1 else ()
    columns = right[-1:] if len(right) > 1 else ()
    return (*batch, *rows, *columns)


def _contracted(right: TensorLabels) -> AxisLabels:
    return right[-2] if len(right) > 1 else right[-1]


def masked_matmul(rewrite: Rewrite) -> Any:
    """The product over kept channels: zeros in place of the others on the left."""
    kept = rewrite.mask(rewrite.inputs[0][-1]) & rewrite.mask(_contracted(rewrite.inputs[1]))
    if kept.all():
        return same_op(rewrite)
    left, right = rewrite.arguments
    return relax.Call(rewrite.call.op, [_zeroed(left, kept), right], rewrite.attrs)


def _zeroed(tensor: Any, kept: Mask) -> Any:
    """Zeros where a mask, which broadcasts against the tensor, is false."""
    return relax.op.where(relax.const(kept), tensor, relax.const(0, tensor.ty.dtype))


def terms(subscripts: str, ranks: list[int]) -> tuple[list[str], str]:
    """One letter for every axis of the operands, and of the result, of an einsum.

    Ellipses become capital letters that the subscripts do not use, counted from the right.
    """
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    operands = left.split(",")
    used = set(subscripts)
    spare = [chr(code) for code in range(ord("A"), ord("Z") + 1) if chr(code) not in used]
    hidden = [
        rank - len(operand) + 3 if "..." in operand else 0
        for operand, rank in zip(operands, ranks, strict=True)
    ]
    names = "".join(spare[: max(hidden)])
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        right = names + "".join(sorted(name for name in set(letters) if letters.count(name) == 1))
    expanded = [
        operand.replace("...", names[len(names) - count :])
        for operand, count in zip(operands, hidden, strict=True)
    ]
    return expanded, right.replace("...", names)


def _axes_by_letter(
    operands: list[str], tensors: tuple[TensorLabels, ...]
) -> Iterator[tuple[str, list[AxisLabels]]]:
    found: dict[str, list[AxisLabels]] = {}
    for letters, tensor in zip(operands, tensors, strict=True):
        for letter, labels in zip(letters, tensor, strict=True):
            found.setdefault(letter, []).append(labels)
    yield from found.items()


def _terms(call: Any, tensors: tuple[TensorLabels, ...]) -> tuple[list[str], str]:
    return terms(str(call.attrs.subscripts), [len(tensor) for tensor in tensors])


def einsum(call: OpCall) -> TensorLabels:
    """Axes with the same letter are tied and pass to the result's axis of that letter.

    Removed channels of a letter that is summed over do not count, whatever their values are.
    """
    tensors: tuple[TensorLabels, ...] = call.inputs[0]
    operands, result = _terms(call, tensors)
    labels_of: dict[str, AxisLabels] = {}
    for letter, axes in _axes_by_letter(operands, tensors):
        (labels_of[letter],) = broadcast(call, [(axis,) for axis in axes])
    return tuple(labels_of[letter] for letter in result)


def masked_einsum(rewrite: Rewrite) -> Any:
    """The einsum over kept channels: zeros in place of the others in one operand each."""
    tensors: tuple[TensorLabels, ...] = rewrite.inputs[0]
    operands, result = _terms(rewrite, tensors)
    fields = list(rewrite.arguments[0].fields)
    for letter, axes in _axes_by_letter(operands, tensors):
        extent = max(axis.size for axis in axes)
        masks = [rewrite.mask(axis) for axis in axes if axis.size == extent]
        kept = np.logical_and.reduce(masks)
        if letter in result or kept.all():
            continue
        index = next(
            place
            for place, (letters, tensor) in enumerate(zip(operands, tensors, strict=True))
            if letter in letters and tensor[letters.index(letter)].size == extent
        )
        shape = [-1 if name == letter else 1 for name in operands[index]]
        fields[index] = _zeroed(fields[index], _along(kept, shape))
    return relax.Call(rewrite.call.op, [relax.Tuple(fields)], rewrite.attrs)


def _along(kept: Mask, shape: list[int]) -> Mask:
    """A mask over every axis that `shape` gives as -1: on a diagonal, the first one is enough."""
    first = shape.index(-1)
    return kept.reshape([-1 if axis == first else 1 for axis in range(len(shape))])


CONTRACTION: OpTable = {
    "relax.matmul": OpRule(matmul, masked=masked_matmul),
    "relax.einsum": OpRule(einsum, masked=masked_einsum),
}
