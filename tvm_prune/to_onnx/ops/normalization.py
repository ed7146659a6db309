"""Normalizations in the form they have at inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_prune.to_onnx.rule import ConverterTable, OpExport


def batch_norm(export: OpExport) -> tuple[str, str, str]:
    """BatchNormalization by the running statistics, which are returned as they are."""
    order = _channel_second(export, export.axis())
    scale, shift, mean, variance = (export.input(index) for index in range(1, 5))
    result = export.emit(
        "BatchNormalization",
        export.transpose(export.input(), order),
        scale if export.attrs.scale else _filled(export, 1.0),
        shift if export.attrs.center else _filled(export, 0.0),
        mean,
        variance,
        epsilon=float(export.attrs.epsilon),
    )
    return export.transpose(result, inverse(order)), mean, variance


def _channel_second(export: OpExport, axis: int) -> list[int]:
    others = [other for other in range(len(export.shape())) if other != axis]
    return [*others[:1], axis, *others[1:]]


def _filled(export: OpExport, value: float) -> str:
    return export.constant(np.full(export.shape(1), value, dtype=export.dtype(1)))


def inverse(order: Sequence[int]) -> list[int]:
    """The permutation that undoes another one."""
    return [int(axis) for axis in np.argsort(order)]


def layer_norm(export: OpExport) -> str:
    """LayerNormalization over the last axes."""
    return _over_last_axes(export, "LayerNormalization")


def rms_norm(export: OpExport) -> str:
    """RMSNormalization over the last axes."""
    return _over_last_axes(export, "RMSNormalization")


def _over_last_axes(export: OpExport, op_type: str) -> str:
    rank = len(export.shape())
    axes = [int(axis) % rank for axis in export.attrs.axes]
    order = [*(axis for axis in range(rank) if axis not in axes), *axes]
    data, *parameters = export.inputs()
    result = export.emit(
        op_type,
        export.transpose(data, order),
        *parameters,
        axis=-len(axes),
        epsilon=float(export.attrs.epsilon),
    )
    return export.transpose(result, inverse(order))


def group_norm(export: OpExport) -> str:
    """GroupNormalization over all axes behind the channels."""
    return _of_channels(export, "GroupNormalization", int(export.attrs.num_groups))


def instance_norm(export: OpExport) -> str:
    """InstanceNormalization over all axes behind the channels."""
    return _of_channels(export, "InstanceNormalization", None)


def _of_channels(export: OpExport, op_type: str, groups: int | None) -> str:
    rank, attrs = len(export.shape()), export.attrs
    channel = int(attrs.channel_axis) % rank
    axes = {int(axis) % rank for axis in attrs.axes} - {channel}
    batch = [axis for axis in range(rank) if axis not in axes and axis != channel]
    if len(batch) != 1:
        raise export.unsupported(
            f"the axes {sorted(axes)} of {rank}",
            "normalise over every axis but the batch and the channels",
        )
    order = [*batch, channel, *sorted(axes)]
    data, scale, shift = export.inputs()
    result = export.emit(
        op_type,
        export.transpose(data, order),
        scale,
        shift,
        num_groups=groups,
        epsilon=float(attrs.epsilon),
    )
    return export.transpose(result, inverse(order))


NORMALIZATION: ConverterTable = {
    "relax.nn.batch_norm": batch_norm,
    "relax.nn.layer_norm": layer_norm,
    "relax.nn.group_norm": group_norm,
    "relax.nn.instance_norm": instance_norm,
    "relax.nn.rms_norm": rms_norm,
}
