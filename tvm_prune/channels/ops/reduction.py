"""Ops that look across an axis: pooling, reductions, softmax and batch normalization."""

from __future__ import annotations

from typing import Any

from tvm_prune.channels.labels import TensorLabels, frozen_axis
from tvm_prune.channels.rule import OpCall, OpRule, OpTable

POOLS = [
    f"relax.nn.{prefix}{kind}_pool{rank}d"
    for prefix in ("", "adaptive_")
    for kind in ("max", "avg")
    for rank in (1, 2, 3)
    if not (prefix and kind == "max")
]


def pool(call: OpCall) -> TensorLabels:
    """Channels and batch pass; the windowed axes are frozen."""
    data = call.tensor(0)
    layout = call.attrs.layout
    return tuple(
        labels if name in "NC" else frozen_axis(int(extent))
        for name, labels, extent in zip(layout, data, call.call.ty.shape.values, strict=True)
    )


def _reduced_axes(attrs: Any, rank: int) -> set[int]:
    return set(range(rank)) if attrs.axis is None else {int(axis) % rank for axis in attrs.axis}


def statistic(call: OpCall) -> TensorLabels:
    """Channels that are reduced stay: a removed one would still count in the result."""
    data = call.tensor(0)
    axes = _reduced_axes(call.attrs, len(data))
    for axis in axes:
        call.freeze(data[axis], "is reduced")
    if call.attrs.keepdims:
        return tuple(frozen_axis(1) if axis in axes else labels for axis, labels in enumerate(data))
    return tuple(labels for axis, labels in enumerate(data) if axis not in axes)


def softmax(call: OpCall) -> TensorLabels:
    """The normalised axis is frozen: every position enters the sum."""
    data = call.tensor(0)
    call.freeze(data[int(call.attrs.axis) % len(data)], "is normalised")
    return data


def batch_norm(call: OpCall) -> tuple[TensorLabels, TensorLabels, TensorLabels]:
    """Scale, shift, mean and variance follow the channel axis."""
    data = call.tensor(0)
    channels = data[int(call.attrs.axis) % len(data)]
    for index in range(1, 5):
        call.tie(channels, call.tensor(index)[0])
    return data, call.tensor(3), call.tensor(4)


REDUCTION: OpTable = {
    **{name: OpRule(pool) for name in POOLS},
    **{
        f"relax.{name}": OpRule(statistic)
        for name in ("sum", "mean", "max", "min", "prod", "std", "variance")
    },
    "relax.nn.softmax": OpRule(softmax),
    "relax.nn.log_softmax": OpRule(softmax),
    "relax.nn.batch_norm": OpRule(batch_norm),
}
