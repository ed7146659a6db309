"""Ops with a spatial layout: pooling, resizing and sampling."""

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


def _spatial_result(call: OpCall, batch: Any, channels: Any, layout: str) -> TensorLabels:
    """Labels of the result: batch and channels as given, the rest frozen."""
    axes = {"N": batch, "C": channels}
    return tuple(
        axes[name] if name in axes else frozen_axis(int(extent))
        for name, extent in zip(layout, call.call.ty.shape.values, strict=True)
    )


def windowed(call: OpCall) -> TensorLabels:
    """Batch and channels pass.

    The spatial axes stay.
    """
    data, layout = call.tensor(0), call.attrs.layout
    for name, labels in zip(layout, data, strict=True):
        if name not in "NC":
            call.freeze(labels, "is seen through a window")
    after = getattr(call.attrs, "out_layout", None) or layout
    return _spatial_result(call, data[layout.index("N")], data[layout.index("C")], after)


def grid_sample(call: OpCall) -> TensorLabels:
    """Channels of the image pass.

    Its other axes and the sampling grid stay.
    """
    data, layout = call.tensor(0), call.attrs.layout
    call.space.freeze_tensor(call.tensor(1), f"is a sampling grid in {call.where}")
    for name, labels in zip(layout, data, strict=True):
        if name != "C":
            call.freeze(labels, "is sampled")
    return _spatial_result(call, data[layout.index("N")], data[layout.index("C")], layout)


def regions(call: OpCall) -> TensorLabels:
    """Channels of the image pass.

    Its other axes and the regions of interest stay.
    """
    data, layout = call.tensor(0), call.attrs.layout
    call.space.freeze_tensor(call.tensor(1), f"is a region of interest in {call.where}")
    for name, labels in zip(layout, data, strict=True):
        if name != "C":
            call.freeze(labels, "is cut into regions")
    regions_axis = frozen_axis(int(call.call.ty.shape.values[layout.index("N")]))
    return _spatial_result(call, regions_axis, data[layout.index("C")], layout)


POOLING: OpTable = {
    **{name: OpRule(windowed) for name in POOLS},
    "relax.image.resize2d": OpRule(windowed),
    "relax.image.resize3d": OpRule(windowed),
    "relax.image.grid_sample": OpRule(grid_sample),
    "relax.vision.roi_align": OpRule(regions),
    "relax.vision.roi_pool": OpRule(regions),
}
