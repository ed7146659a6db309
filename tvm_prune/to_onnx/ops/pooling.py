"""Pooling windows of a fixed size, and of a size that follows from the output's."""

from __future__ import annotations

from functools import partial

from tvm_prune.to_onnx.layouts import channels_first, reordered
from tvm_prune.to_onnx.rule import ConverterTable, OpExport

RANKS = (1, 2, 3)
DILATED_AVERAGE = 19
"""The opset since which AveragePool has dilations."""


def pool(export: OpExport, op_type: str) -> str:
    """MaxPool or AveragePool with explicit padding.

    Ceil mode lets the last window hang over the padded end. ONNX counts what hangs over
    differently from opset to opset and runtime to runtime, so that it is written as padding that
    no average counts; declared padding that averages do count then becomes zeros before it.
    """
    attrs = export.attrs
    layout = attrs.layout
    wanted = channels_first(layout)
    value = reordered(export, export.input(), layout, wanted)
    before, after, overhang = _padding(export, wanted)
    is_average = op_type == "AveragePool"
    counts_padding = is_average and bool(attrs.count_include_pad)
    if counts_padding and any(overhang):
        if any(before + after):
            pads = [0, 0, *before, 0, 0, *after]
            value = export.emit("Pad", value, export.ints(pads, "pads"))
        before, after, counts_padding = [0] * len(before), overhang, False
    else:
        after = [sum(pair) for pair in zip(after, overhang, strict=True)]
    dilations = [int(step) for step in attrs.dilation]
    is_dilated = max(dilations) > 1
    result = export.emit(
        op_type,
        value,
        since=DILATED_AVERAGE if is_average and is_dilated else 1,
        kernel_shape=[int(extent) for extent in attrs.pool_size],
        strides=[int(stride) for stride in attrs.strides],
        pads=before + after,
        dilations=dilations if is_dilated else None,
        count_include_pad=1 if counts_padding else None,
    )
    return reordered(export, result, wanted, attrs.out_layout or layout)


def _padding(export: OpExport, wanted: str) -> tuple[list[int], list[int], list[int]]:
    """Padding before and after each windowed axis, and what hangs over the end of that."""
    attrs = export.attrs
    rank = len(wanted) - 2
    before = [int(extent) for extent in attrs.padding[:rank]]
    after = [int(extent) for extent in attrs.padding[rank:]]
    overhang = [0] * rank
    if attrs.ceil_mode:
        extents = dict(zip(attrs.layout, export.shape(), strict=True))
        counts = dict(zip(attrs.out_layout or attrs.layout, export.result_shape, strict=True))
        for index, axis in enumerate(wanted[2:]):
            window = (int(attrs.pool_size[index]) - 1) * int(attrs.dilation[index]) + 1
            end = (counts[axis] - 1) * int(attrs.strides[index]) + window
            overhang[index] = max(0, end - extents[axis] - before[index] - after[index])
    return before, after, overhang


def adaptive_average_pool(export: OpExport) -> str:
    """Average of windows that tile the image: one, equally many pixels each, or neither."""
    layout = export.attrs.layout
    wanted = channels_first(layout)
    value = reordered(export, export.input(), layout, wanted)
    extents = dict(zip(layout, export.shape(), strict=True))
    counts = dict(zip(export.attrs.out_layout or layout, export.result_shape, strict=True))
    spatial = wanted[2:]
    if all(counts[axis] == 1 for axis in spatial):
        result = export.emit("GlobalAveragePool", value)
    elif all(extents[axis] % counts[axis] == 0 for axis in spatial):
        window = [extents[axis] // counts[axis] for axis in spatial]
        result = export.emit("AveragePool", value, kernel_shape=window, strides=window)
    else:
        result = value
        for index, axis in enumerate(spatial, start=2):
            result = _uneven(export, result, index, extents[axis], counts[axis])
    return reordered(export, result, wanted, export.attrs.out_layout or layout)


def _uneven(export: OpExport, value: str, axis: int, extent: int, count: int) -> str:
    """Averages of overlapping windows along one axis; the mean over several axes is separable."""
    where = export.ints([axis], "axes")
    parts = []
    for index in range(count):
        begin, end = index * extent // count, -(-(index + 1) * extent // count)
        bounds = [export.ints([begin], "starts"), export.ints([end], "ends")]
        window = export.emit("Slice", value, *bounds, where)
        parts.append(export.emit("ReduceMean", window, where, keepdims=1))
    return export.emit("Concat", *parts, axis=axis)


POOLING: ConverterTable = {
    **{f"relax.nn.max_pool{rank}d": partial(pool, op_type="MaxPool") for rank in RANKS},
    **{f"relax.nn.avg_pool{rank}d": partial(pool, op_type="AveragePool") for rank in RANKS},
    **{f"relax.nn.adaptive_avg_pool{rank}d": adaptive_average_pool for rank in RANKS},
}
