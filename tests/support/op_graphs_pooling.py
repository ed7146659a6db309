"""Networks for the rows of pooling, resizing and sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from support.networks import Body, Layers
from support.op_graphs_elementwise import function
from tvm_prune.channels.ops.pooling import POOLS

op = relax.op


def pool_graph(name: str) -> Body:
    rank = int(name[-2])

    def body(net: Layers, x: Any) -> Any:
        h = net.conv(spatial_axes(net, x, rank), 8, 3)
        call = function(name.removeprefix("relax."))
        if "adaptive" in name:
            return net.head(call(h, output_size=(2,) * rank))
        return net.head(call(h, pool_size=(2,) * rank, strides=(2,) * rank))

    return body


def spatial_axes(net: Layers, x: Any, rank: int) -> Any:
    """The image with its pixels along `rank` axes."""
    shape = {1: (2, 3, 36), 2: (2, 3, 6, 6), 3: (2, 3, 3, 4, 3)}[rank]
    return x if rank == 2 else net.emit(op.reshape(x, shape))


def pool_nhwc(net: Layers, x: Any) -> Any:
    h = net.emit(op.permute_dims(net.conv(x, 8, 3), [0, 2, 3, 1]))
    size = {"pool_size": (3, 3), "strides": (2, 2)}
    h = net.emit(op.nn.max_pool2d(h, **size, ceil_mode=True, layout="NHWC"))
    return net.linear(op.mean(h, [1, 2]), 5)


def resize2d(layout: str, **attrs: Any) -> Body:
    def body(net: Layers, x: Any) -> Any:
        h = net.conv(x, 8, 3)
        if layout == "NCHW":
            return net.head(net.conv(op.image.resize2d(h, (9, 12), layout=layout, **attrs), 6))
        h = net.emit(op.permute_dims(h, [0, 2, 3, 1]))
        h = net.emit(op.image.resize2d(h, (9, 12), layout=layout, **attrs))
        return net.linear(op.mean(h, [1, 2]), 5)

    return body


def resize3d(net: Layers, x: Any) -> Any:
    h = net.conv(spatial_axes(net, x, 3), 8, 3)
    return net.head(net.conv(op.image.resize3d(h, (6, 4, 5)), 6))


def grid_sample(net: Layers, x: Any) -> Any:
    """The image is sampled where a second convolution says."""
    grid = op.tanh(net.conv(x, 2, 3))
    return net.head(net.conv(op.image.grid_sample(net.conv(x, 8, 3), net.emit(grid)), 6))


BOXES = ((0.0, 0.0, 0.0, 4.0, 4.0), (1.0, 1.0, 1.0, 5.0, 4.0), (0.0, 2.0, 1.0, 5.0, 5.0))
"""Sample and corners of three regions of interest."""


def regions(name: str) -> Body:
    def body(net: Layers, x: Any) -> Any:
        boxes = relax.const(np.asarray(BOXES), "float32")
        h = function(name)(net.conv(x, 8, 3), boxes, (3, 3), 1.0)
        return net.head(net.conv(h, 6))

    return body


POOLING_GRAPHS: Mapping[str, Mapping[str, Body]] = {
    **{name: {"": pool_graph(name)} for name in POOLS},
    "relax.nn.max_pool2d": {"": pool_graph("relax.nn.max_pool2d"), "nhwc": pool_nhwc},
    "relax.image.resize2d": {
        "linear": resize2d("NCHW"),
        "nearest": resize2d(
            "NCHW",
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        ),
        "nhwc": resize2d("NHWC", coordinate_transformation_mode="align_corners"),
    },
    "relax.image.resize3d": {"": resize3d},
    "relax.image.grid_sample": {"": grid_sample},
    "relax.vision.roi_align": {"": regions("vision.roi_align")},
    "relax.vision.roi_pool": {"": regions("vision.roi_pool")},
}
