"""Resizing and sampling of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.to_onnx.layouts import channels_first, reordered
from tvm_prune.to_onnx.rule import ConverterTable, OpExport

Coordinates = NDArray[np.float32]

COORDINATE_MODES = (
    "half_pixel",
    "align_corners",
    "asymmetric",
    "pytorch_half_pixel",
    "tf_crop_and_resize",
)
NEAREST_MODES = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")

RELAX_ROUNDING: dict[str, Callable[[Coordinates], Coordinates]] = {
    "round": np.round,
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": lambda x: np.floor(x + np.float32(1e-5)),
    "ceil": lambda x: np.ceil(x - np.float32(1e-5)),
}
"""Relax's choice of the nearest pixel."""


def resize(export: OpExport) -> str:
    """Resize to a fixed size, between transposes where channels are not first."""
    attrs = export.attrs
    layout, method = attrs.layout, str(attrs.method)
    wanted = channels_first(layout)
    value = reordered(export, export.input(), layout, wanted)
    shape = [export.shape()[layout.index(axis)] for axis in wanted]
    sizes = [int(extent) for extent in export.args[1].values]
    mode, rounding = str(attrs.coordinate_transformation_mode), _rounding(export)
    if method == "nearest_neighbor" and (
        rounding not in NEAREST_MODES or mode not in COORDINATE_MODES
    ):
        result = _gathered(export, value, shape[2:], sizes)
    else:
        result = _resized(export, value, [*shape[:2], *sizes])
    result = reordered(export, result, wanted, layout)
    return export.cast(result, export.dtype(), export.result_dtype)


def _rounding(export: OpExport) -> str:
    chosen = str(export.attrs.rounding_method)
    by_corners = str(export.attrs.coordinate_transformation_mode) == "align_corners"
    return chosen or ("round" if by_corners else "floor")


def _resized(export: OpExport, value: str, sizes: list[int]) -> str:
    attrs = export.attrs
    mode, method = str(attrs.coordinate_transformation_mode), str(attrs.method)
    if mode not in COORDINATE_MODES:
        raise export.unsupported(
            f"the coordinates '{mode}'", f"use one of {', '.join(COORDINATE_MODES)}"
        )
    is_cropped, is_cubic, is_nearest = (
        mode == "tf_crop_and_resize",
        method == "cubic",
        method == "nearest_neighbor",
    )
    return export.emit(
        "Resize",
        value,
        _region(export) if is_cropped else "",
        "",
        export.ints(sizes, "sizes"),
        mode="nearest" if is_nearest else method,
        coordinate_transformation_mode=mode,
        nearest_mode=_rounding(export) if is_nearest else None,
        cubic_coeff_a=float(attrs.cubic_alpha) if is_cubic else None,
        exclude_outside=int(attrs.cubic_exclude) if is_cubic else None,
        extrapolation_value=float(attrs.extrapolation_value) if is_cropped else None,
    )


def _region(export: OpExport) -> str:
    """The region to crop, for all axes: starts, then ends."""
    bounds = [float(bound) for bound in export.attrs.roi]
    half = len(bounds) // 2
    region = [0.0, 0.0, *bounds[:half], 1.0, 1.0, *bounds[half:]]
    return export.constant(np.asarray(region, dtype=export.dtype()), "region")


def _gathered(export: OpExport, value: str, extents: list[int], sizes: list[int]) -> str:
    """The nearest pixels by their indices, for choices that ONNX's Resize does not offer."""
    for axis, (extent, size) in enumerate(zip(extents, sizes, strict=True), start=2):
        nearest = RELAX_ROUNDING[_rounding(export)](_coordinates(export, extent, size))
        indices = np.clip(nearest, 0, extent - 1).astype(np.int64)
        value = export.emit("Gather", value, export.constant(indices, "indices"), axis=axis)
    return value


def _coordinates(export: OpExport, extent: int, size: int) -> Coordinates:
    """Where each pixel of the result lies in the image, as Relax computes it in float32."""
    mode = str(export.attrs.coordinate_transformation_mode)
    x, half = np.arange(size, dtype=np.float32), np.float32(0.5)
    scale = np.float32(extent) / np.float32(size)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and size > 1):
        return (x + half) * scale - half
    if mode == "pytorch_half_pixel":
        return np.zeros(size, dtype=np.float32)
    if mode == "align_corners":
        return x * (np.float32(extent - 1) / np.float32(max(size - 1, 1)))
    if mode == "asymmetric":
        return x * scale
    if mode == "tf_half_pixel_for_nn":
        return (x + half) * scale
    raise export.unsupported(f"the coordinates '{mode}'", "round by one of ONNX's modes")


def grid_sample(export: OpExport) -> str:
    """GridSample; the grid's coordinates become its last axis."""
    attrs: Any = export.attrs
    methods = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
    rank = len(export.shape())
    grid = export.transpose(export.input(1), [0, *range(2, rank), 1])
    return export.emit(
        "GridSample",
        export.input(),
        grid,
        since=20,
        mode=methods[str(attrs.method)],
        padding_mode=str(attrs.padding_mode),
        align_corners=int(bool(attrs.align_corners)),
    )


def roi_align(export: OpExport) -> str:
    """RoiAlign; rows of the regions are the image's index and two corners.

    Relax's `aligned` lets regions be smaller than a pixel, as ONNX's half-pixel mode does, but
    does not shift them by half a pixel.
    """
    attrs = export.attrs
    layout, scale = attrs.layout, float(attrs.spatial_scale)
    dtype, aligned = export.dtype(1), bool(attrs.aligned)
    images, corners = export.emit_many(
        "Split", [export.input(1), export.ints([1, 4], "lengths")], 2, axis=1
    )
    images = export.emit("Cast", images, to=export.element_type("int64"))
    if aligned:
        corners = export.emit("Add", corners, export.number(0.5 / scale, dtype))
    height, width = (int(extent) for extent in attrs.pooled_size)
    result = export.emit(
        "RoiAlign",
        reordered(export, export.input(), layout, "NCHW"),
        corners,
        export.emit("Squeeze", images, export.ints([1], "axes")),
        output_height=height,
        output_width=width,
        spatial_scale=scale,
        sampling_ratio=max(int(attrs.sample_ratio), 0),
        mode=str(attrs.mode),
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )
    return reordered(export, result, "NCHW", layout)


def roi_pool(export: OpExport) -> str:
    """MaxRoiPool."""
    attrs = export.attrs
    layout = attrs.layout
    result = export.emit(
        "MaxRoiPool",
        reordered(export, export.input(), layout, "NCHW"),
        export.input(1),
        pooled_shape=[int(extent) for extent in attrs.pooled_size],
        spatial_scale=float(attrs.spatial_scale),
    )
    return reordered(export, result, "NCHW", layout)


IMAGE: ConverterTable = {
    "relax.image.resize2d": resize,
    "relax.image.resize3d": resize,
    "relax.image.grid_sample": grid_sample,
    "relax.vision.roi_align": roi_align,
    "relax.vision.roi_pool": roi_pool,
}
