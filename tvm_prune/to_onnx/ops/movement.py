"""Ops that move positions without computing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tvm_prune.to_onnx.rule import ConverterTable, OpExport, static_shape

PAD_MODES: dict[str, str] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "edge": "edge",
    "circular": "wrap",
}
WRAP = 19
"""The opset since which Pad wraps around."""

BEFORE_FIRST = -(2**63) + 1
"""End of a slice that goes backwards through the first position."""


def reshape(export: OpExport) -> str:
    """Reshape to the static shape of the result; a plain flattening says so."""
    before, after = export.shape(), export.result_shape
    if len(before) > 2 and after == (before[0], math.prod(before[1:])):
        return export.emit("Flatten", export.input(), axis=1)
    return export.reshape(export.input(), after)


def flatten_all(export: OpExport) -> str:
    """The whole tensor as one axis."""
    return export.reshape(export.input(), [-1])


def permute_dims(export: OpExport) -> str:
    """Transpose; without axes they are reversed."""
    axes, rank = export.attrs.axes, len(export.shape())
    order = range(rank)[::-1] if axes is None else [int(axis) % rank for axis in axes]
    return export.emit("Transpose", export.input(), perm=list(order))


def expand_dims(export: OpExport) -> str:
    """New axes of extent 1, counted in the result."""
    rank = len(export.result_shape)
    axes = sorted(int(axis) % rank for axis in export.attrs.axis)
    return export.emit("Unsqueeze", export.input(), export.ints(axes, "axes"))


def squeeze(export: OpExport) -> str:
    """Without axes, all of extent 1 go."""
    shape, axes = export.shape(), export.attrs.axis
    gone = (
        [axis for axis, extent in enumerate(shape) if extent == 1]
        if axes is None
        else sorted(int(axis) % len(shape) for axis in axes)
    )
    return export.emit("Squeeze", export.input(), export.ints(gone, "axes"))


def broadcast_to(export: OpExport) -> str:
    """Expand to the static shape of the result."""
    return export.emit("Expand", export.input(), export.ints(export.result_shape, "shape"))


def concat(export: OpExport) -> str:
    """Concat; without an axis the operands are flattened first."""
    parts, axis = export.fields(), export.attrs.axis
    if axis is None:
        parts = [export.reshape(part, [-1]) for part in parts]
    return export.emit("Concat", *parts, axis=int(axis or 0))


def stack(export: OpExport) -> str:
    """Concat along a new axis."""
    rank = len(export.result_shape)
    axis = int(export.attrs.axis or 0) % rank
    axes = export.ints([axis], "axes")
    parts = [export.emit("Unsqueeze", part, axes) for part in export.fields()]
    return export.emit("Concat", *parts, axis=axis)


def split(export: OpExport) -> tuple[str, ...]:
    """Split into sections of the extents that Relax infers."""
    axis = export.axis()
    sections = [static_shape(field)[axis] for field in export.call.ty.fields]
    lengths = export.ints(sections, "lengths")
    return export.emit_many("Split", [export.input(), lengths], len(sections), axis=axis)


def strided_slice(export: OpExport) -> str:
    """Slice; bounds are counted from the front."""
    shape = export.shape()
    axes, begins, ends, *rest = ([_integer(bound) for bound in arg] for arg in export.args[1:])
    strides = rest[0] if rest else [1] * len(axes)
    axes = [axis % len(shape) for axis in axes]
    starts, stops = [], []
    for axis, begin, end, stride in zip(axes, begins, ends, strides, strict=True):
        start, stop, _ = slice(begin, end, stride).indices(shape[axis])
        starts.append(start)
        stops.append(stop if stop >= 0 else BEFORE_FIRST)
    bounds = [
        export.ints(values, role)
        for values, role in ((starts, "starts"), (stops, "ends"), (axes, "axes"))
    ]
    steps = [] if set(strides) == {1} else [export.ints(strides, "steps")]
    return export.emit("Slice", export.input(), *bounds, *steps)


def _integer(expr: Any) -> int:
    return int(expr.value) if hasattr(expr, "value") else int(expr)


def dynamic_strided_slice(export: OpExport) -> str:
    """Slice of every axis with bounds that are tensors."""
    data, begins, ends, strides = export.inputs()
    axes = export.ints(range(len(export.shape())), "axes")
    return export.emit("Slice", data, begins, ends, axes, strides)


def pad(export: OpExport) -> str:
    """Pad; Relax lists the two ends of an axis together, ONNX all starts first."""
    attrs = export.attrs
    mode = PAD_MODES.get(str(attrs.pad_mode))
    if mode is None:
        raise export.unsupported(
            f"the mode '{attrs.pad_mode}'", f"use one of {', '.join(PAD_MODES)}"
        )
    widths = [int(width) for width in attrs.pad_width]
    inputs = [export.input(), export.ints(widths[::2] + widths[1::2], "pads")]
    if mode == "constant":
        inputs.append(export.number(float(attrs.pad_value)))
    return export.emit("Pad", *inputs, mode=mode, since=WRAP if mode == "wrap" else 1)


def flip(export: OpExport) -> str:
    """A slice from the last position to the first."""
    bounds = [
        export.ints([number], role)
        for number, role in (
            (-1, "starts"),
            (BEFORE_FIRST, "ends"),
            (export.axis(), "axes"),
            (-1, "steps"),
        )
    ]
    return export.emit("Slice", export.input(), *bounds)


def tile(export: OpExport) -> str:
    """Tile; the shorter of shape and repeats gets leading ones."""
    shape = export.shape()
    repeats = [int(count) for count in export.attrs.repeats]
    rank = max(len(shape), len(repeats))
    value = export.input()
    if len(shape) < rank:
        value = export.reshape(value, [1] * (rank - len(shape)) + list(shape))
    repeats = [1] * (rank - len(repeats)) + repeats
    return export.emit("Tile", value, export.ints(repeats, "repeats"))


def repeat(export: OpExport) -> str:
    """Every position several times in a row: tile a new axis behind it."""
    value, shape, count = export.input(), list(export.shape()), int(export.attrs.repeats)
    if export.attrs.axis is None:
        value, shape, axis = export.reshape(value, [-1]), [math.prod(shape)], 0
    else:
        axis = export.axis()
    behind = export.emit("Unsqueeze", value, export.ints([axis + 1], "axes"))
    repeats = [1] * (len(shape) + 1)
    repeats[axis + 1] = count
    tiled = export.emit("Tile", behind, export.ints(repeats, "repeats"))
    return export.reshape(tiled, export.result_shape)


def pixel_shuffle(export: OpExport) -> str:
    """DepthToSpace in torch's order of channels."""
    factor = int(export.attrs.upscale_factor)
    return export.emit("DepthToSpace", export.input(), blocksize=factor, mode="CRD")


def layout_transform(export: OpExport) -> str:
    """A permutation of the axes; ONNX has no packed layouts."""
    index_map = export.attrs.index_map
    sources, targets = list(index_map.initial_indices), list(index_map.final_indices)
    order = [
        next((axis for axis, source in enumerate(sources) if source.same_as(target)), -1)
        for target in targets
    ]
    if sorted(order) != list(range(len(sources))):
        raise export.unsupported(f"the layout {index_map}", "use reshape and permute_dims")
    return export.emit("Transpose", export.input(), perm=order)


def meshgrid(export: OpExport) -> tuple[str, ...]:
    """Every vector broadcast along its own axis of the grid."""
    shape = static_shape(export.call.ty.fields[0])
    axes = list(range(len(shape)))
    if str(export.attrs.indexing) == "xy":
        axes[:2] = axes[:2][::-1]
    target = export.ints(shape, "shape")
    grid = []
    for axis, part in zip(axes, export.fields(), strict=True):
        column = export.reshape(part, [-1] + [1] * (len(shape) - axis - 1))
        grid.append(export.emit("Expand", column, target))
    return tuple(grid)


def triangle(export: OpExport, upper: bool) -> str:
    """Trilu."""
    offset = export.number(_integer(export.args[1]), "int64")
    return export.emit("Trilu", export.input(), offset, upper=int(upper))


def shape_to_tensor(export: OpExport) -> str:
    """A static shape as int64 values."""
    return export.constant(np.asarray([int(n) for n in export.args[0].values], dtype=np.int64))


MOVEMENT: ConverterTable = {
    "relax.reshape": reshape,
    "relax.nn.batch_flatten": reshape,
    "relax.flatten": flatten_all,
    "relax.permute_dims": permute_dims,
    "relax.layout_transform": layout_transform,
    "relax.expand_dims": expand_dims,
    "relax.squeeze": squeeze,
    "relax.broadcast_to": broadcast_to,
    "relax.concat": concat,
    "relax.stack": stack,
    "relax.split": split,
    "relax.strided_slice": strided_slice,
    "relax.dynamic_strided_slice": dynamic_strided_slice,
    "relax.nn.pad": pad,
    "relax.nn.pixel_shuffle": pixel_shuffle,
    "relax.flip": flip,
    "relax.tile": tile,
    "relax.repeat": repeat,
    "relax.meshgrid": meshgrid,
    "relax.triu": lambda export: triangle(export, upper=True),
    "relax.tril": lambda export: triangle(export, upper=False),
    "relax.shape_to_tensor": shape_to_tensor,
}
