"""Windows and sizes that the networks of the op table leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.networks import Layers, build
from support.onnx_comparison import assert_same_in_onnx, model_of
from tvm import relax

op = relax.op
nn = relax.op.nn
Body = Callable[[Layers, Any], Any]
Case = tuple[tuple[int, ...], Body]

IMAGE = (2, 4, 7, 9)


def pooled(name: str, shape: tuple[int, ...] = IMAGE, **options: Any) -> Case:
    return shape, lambda net, x: getattr(nn, name)(x, **options)


POOLS: Mapping[str, Case] = {
    "max_ceil": pooled("max_pool2d", pool_size=(3, 2), strides=(2, 2), ceil_mode=True),
    "max_dilated": pooled("max_pool2d", pool_size=(2, 2), dilation=(2, 3), padding=(1, 0, 1, 1)),
    "max_channels_last": pooled("max_pool2d", (2, 7, 9, 4), pool_size=(3, 3), layout="NHWC"),
    "average_ceil": pooled("avg_pool2d", pool_size=(3, 3), strides=(3, 4), ceil_mode=True),
    "average_ceil_with_padding": pooled(
        "avg_pool2d",
        pool_size=(3, 3),
        strides=(3, 4),
        padding=(1, 1, 1, 1),
        ceil_mode=True,
        count_include_pad=True,
    ),
    "average_without_padding": pooled("avg_pool2d", pool_size=(3, 3), padding=(1, 0, 2, 1)),
    "average_dilated": pooled("avg_pool2d", pool_size=(2, 3), dilation=(3, 2)),
    "average_1d": pooled("avg_pool1d", (2, 3, 9), pool_size=4, strides=3, ceil_mode=True),
    "max_3d": pooled("max_pool3d", (1, 2, 5, 5, 5), pool_size=(2, 3, 2), strides=(2, 1, 2)),
    "adaptive_uneven": pooled("adaptive_avg_pool2d", output_size=(3, 4)),
    "adaptive_larger": pooled("adaptive_avg_pool2d", output_size=(9, 2)),
    "adaptive_to_one": pooled("adaptive_avg_pool2d", output_size=(1, 1)),
    "adaptive_to_the_same": pooled("adaptive_avg_pool2d", output_size=None),
    "adaptive_channels_last": pooled(
        "adaptive_avg_pool2d", (2, 7, 9, 4), output_size=(2, 3), layout="NHWC"
    ),
    "adaptive_3d": pooled("adaptive_avg_pool3d", (1, 2, 5, 4, 6), output_size=(2, 2, 4)),
    "adaptive_1d": pooled("adaptive_avg_pool1d", (2, 3, 10), output_size=(4,)),
}


def resized(size: tuple[int, int], shape: tuple[int, ...] = IMAGE, **options: Any) -> Case:
    return shape, lambda net, x: op.image.resize2d(x, size, **options)


COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
ROUNDINGS = ("round", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")

RESIZES: Mapping[str, Case] = {
    **{
        f"{method}_{mode}_{label}": resized(
            size, method=method, coordinate_transformation_mode=mode
        )
        for method in ("linear", "cubic")
        for mode in COORDINATES
        for label, size in {"up": (13, 18), "down": (3, 5)}.items()
    },
    **{
        f"nearest_{mode}_{rounding}": resized(
            (5, 18),
            method="nearest_neighbor",
            coordinate_transformation_mode=mode,
            rounding_method=rounding,
        )
        for mode in (*COORDINATES, "tf_half_pixel_for_nn")
        for rounding in ROUNDINGS
    },
    "nearest_channels_last": resized(
        (14, 18), (2, 7, 9, 4), layout="NHWC", method="nearest_neighbor", rounding_method=""
    ),
    "cubic_excluding_the_outside": resized((9, 10), method="cubic", cubic_alpha=-0.5),
    "cropped": resized(
        (4, 5),
        roi=(0.1, 0.2, 0.8, 1.2),
        method="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=3.0,
    ),
    "volume": (
        (1, 2, 3, 4, 5),
        lambda net, x: op.image.resize3d(x, (6, 5, 7), method="linear"),
    ),
    "to_one_pixel": resized(
        (1, 1), method="linear", coordinate_transformation_mode="pytorch_half_pixel"
    ),
}

CASES = {
    **{f"pool-{name}": case for name, case in POOLS.items()},
    **{f"resize-{name}": case for name, case in RESIZES.items()},
}


@pytest.mark.parametrize(("shape", "body"), CASES.values(), ids=CASES)
def test_the_onnx_form_computes_what_relax_does(shape: tuple[int, ...], body: Body) -> None:
    assert_same_in_onnx(model_of(build(body, shape)))
