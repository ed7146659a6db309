"""Attributes and layouts that the networks of the op table leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from support.networks import Layers, build
from support.onnx_comparison import (
    assert_close,
    assert_same_in_onnx,
    checked,
    model_of,
    run_onnx,
    sample,
)
from tvm import relax, tirx

from tvm_prune.to_onnx import to_onnx

op = relax.op
nn = relax.op.nn
Body = Callable[[Layers, Any], Any]
Case = tuple[tuple[int, ...], Body]

IMAGE = (2, 4, 7, 9)


def integers(values: Any, dtype: str = "int64") -> Any:
    return relax.const(np.asarray(values), dtype)


CONVOLUTIONS: Mapping[str, Case] = {
    "strided_and_padded_unevenly": (
        IMAGE,
        lambda net, x: nn.conv2d(
            x, net.parameter((6, 4, 3, 2)), strides=(2, 1), padding=(0, 1, 2, 3), dilation=(2, 1)
        ),
    ),
    "channels_last": (
        (2, 7, 9, 4),
        lambda net, x: nn.conv2d(
            x,
            net.parameter((3, 3, 2, 6)),
            groups=2,
            data_layout="NHWC",
            kernel_layout="HWIO",
        ),
    ),
    "volumes_with_channels_last": (
        (1, 4, 5, 6, 3),
        lambda net, x: nn.conv3d(
            x,
            net.parameter((2, 2, 2, 3, 5)),
            padding=(1, 0, 1),
            data_layout="NDHWC",
            kernel_layout="DHWIO",
        ),
    ),
    "transposed_1d": (
        (2, 4, 7),
        lambda net, x: nn.conv1d_transpose(x, net.parameter((4, 6, 3)), strides=2, padding=1),
    ),
    "transposed_2d": (
        IMAGE,
        lambda net, x: nn.conv2d_transpose(
            x,
            net.parameter((4, 3, 3, 3)),
            strides=(2, 3),
            padding=(1, 1, 0, 1),
            output_padding=(1, 0),
            groups=2,
        ),
    ),
    "transposed_2d_dilated": (
        IMAGE,
        lambda net, x: nn.conv2d_transpose(x, net.parameter((4, 6, 3, 3)), dilation=2, groups=1),
    ),
    "transposed_3d": (
        (1, 2, 3, 4, 3),
        lambda net, x: nn.conv3d_transpose(x, net.parameter((2, 3, 2, 2, 2)), strides=2),
    ),
    "einsum_with_a_parameter": (
        (2, 5, 8),
        lambda net, x: op.einsum([x, net.parameter((3, 8, 4))], "b t c, h c d -> b h t d"),
    ),
    "einsum_without_an_arrow": (
        (3, 5),
        lambda net, x: op.einsum([x, net.parameter((5, 4))], "ij,jk"),
    ),
    "vector_times_matrices": (
        (5,),
        lambda net, x: op.matmul(x, net.parameter((2, 5, 3))),
    ),
    "outer_product": ((5,), lambda net, x: op.outer(x, net.parameter((3,)))),
}


def normed(name: str, shape: tuple[int, ...], extents: tuple[int, ...], **options: Any) -> Case:
    def body(net: Layers, x: Any) -> Any:
        count = 1 if name == "rms_norm" else 2
        parameters = [net.parameter(extents, "gamma") for _ in range(count)]
        return getattr(nn, name)(x, *parameters, **options)

    return shape, body


def batch_normed(shape: tuple[int, ...], **options: Any) -> Case:
    def body(net: Layers, x: Any) -> Any:
        extent = shape[options["axis"]]
        parameters = [net.parameter((extent,), "gamma") for _ in range(4)]
        return net.emit(nn.batch_norm(x, *parameters, training=False, **options))

    return shape, body


NORMS: Mapping[str, Case] = {
    "layer_last": normed("layer_norm", (2, 5, 8), (8,), axes=[-1]),
    "layer_last_two": normed("layer_norm", (2, 5, 8), (5, 8), axes=[1, 2]),
    "layer_channels": normed("layer_norm", IMAGE, (4,), axes=[1], epsilon=1e-3),
    "rms_last": normed("rms_norm", (2, 5, 8), (8,), axes=[-1]),
    "rms_last_two": normed("rms_norm", (2, 5, 8), (5, 8), axes=[1, 2]),
    "group": normed("group_norm", IMAGE, (4,), num_groups=2, channel_axis=1, axes=[2, 3]),
    "group_channels_last": normed(
        "group_norm", (2, 7, 9, 4), (4,), num_groups=2, channel_axis=-1, axes=[1, 2]
    ),
    "group_of_vectors": normed("group_norm", (3, 6), (6,), num_groups=3, channel_axis=1, axes=[]),
    "instance": normed("instance_norm", IMAGE, (4,), channel_axis=1, axes=[2, 3]),
    "instance_channels_last": normed(
        "instance_norm", (2, 7, 9, 4), (4,), channel_axis=3, axes=[1, 2]
    ),
    "batch_all_outputs": batch_normed(IMAGE, axis=1),
    "batch_last_axis": batch_normed((2, 7, 9, 4), axis=3, epsilon=1e-2),
    "batch_without_scale_and_shift": batch_normed((5, 4), axis=1, scale=False, center=False),
}


def attended(bias: tuple[int, ...] | None = None, keys: int = 6, **options: Any) -> Case:
    """Queries (2, 6, 3, 8), keys of the same dims, values of 5 dims."""

    def body(net: Layers, x: Any) -> Any:
        key, value = net.parameter((2, keys, 3, 8)), net.parameter((2, keys, 3, 5))
        more = {} if bias is None else {"bias": net.parameter(bias)}
        return nn.attention(x, key, value, **more, **options)

    return (2, 6, 3, 8), body


ATTENTION: Mapping[str, Case] = {
    "plain": attended(),
    "scaled": attended(scale=0.3),
    "causal": attended(causal_mask="TopLeft"),
    "causal_at_the_end": attended(causal_mask="BottomRight", keys=9),
    "biased": attended(bias=(2, 3, 6, 6)),
    "biased_causal": attended(bias=(1, 1, 6, 6), causal_mask="TopLeft", scale=1.0),
    "more_keys": attended(bias=(2, 1, 6, 11), keys=11),
}


def scalar(value: float) -> Any:
    return relax.const(value, "float32")


def half_precision(net: Layers, x: Any) -> Any:
    """Numbers that half precision holds exactly: ONNX Runtime may compute with more."""
    quarters = op.divide(op.round(op.multiply(x, scalar(4.0))), scalar(4.0))
    eye = relax.const(np.eye(6, dtype="float16"), "float16")
    return net.emit(op.astype(op.matmul(op.astype(quarters, "float16"), eye), "float32"))


def sliced_by_tensors(net: Layers, x: Any) -> Any:
    bounds = (integers([3, 1]), integers([0, 5]), integers([-2, 2]))
    part = net.emit(op.dynamic_strided_slice(x, *bounds))
    return net.builder.match_cast(part, relax.TensorType((2, 2), "float32"))


OTHERS: Mapping[str, Case] = {
    "all_axes": ((2, 3, 4), lambda net, x: op.add(op.sum(x), op.std(x, None, keepdims=True))),
    "argmax_of_all": ((2, 3, 4), lambda net, x: op.argmax(x, None, keepdims=True)),
    "exclusive_sums": ((2, 5), lambda net, x: op.cumsum(x, 1, exclusive=True)),
    "exclusive_products": ((2, 5), lambda net, x: op.cumprod(x, 0, exclusive=True)),
    "products_of_all": ((2, 5), lambda net, x: op.cumprod(x)),
    "descending": ((2, 5), lambda net, x: op.sort(x, axis=0, descending=True)),
    "smallest": ((2, 5), lambda net, x: net.emit(op.topk(x, 3, largest=False, dtype="int64"))),
    "clipped_indices": (
        (4, 5),
        lambda net, x: op.take(x, integers([[-3, 2], [9, 1]]), axis=0, mode="clip"),
    ),
    "wrapped_indices": (
        (4, 5),
        lambda net, x: op.take(x, integers([-3, 2, 9]), axis=1, mode="wrap"),
    ),
    "indices_of_all": ((20,), lambda net, x: op.take(x, integers([0, 19, 7], "int32"))),
    "index_number": ((4, 5), lambda net, x: op.take(x, tirx.IntImm("int64", 3), axis=1)),
    "added_in_place": (
        (4, 5),
        lambda net, x: op.scatter_nd(x, integers([[1], [1]]), net.parameter((2, 5)), "add"),
    ),
    "largest_in_place": (
        (4, 5),
        lambda net, x: op.scatter_elements(
            x, integers([[1, 0, 2, 3, 0]]), net.parameter((1, 5)), reduction="max"
        ),
    ),
    "accumulated": (
        (4, 5),
        lambda net, x: op.index_put(
            x, (integers([[0], [1]]), integers([2, 2])), net.parameter((2, 2)), accumulate=True
        ),
    ),
    "tiled_to_a_higher_rank": ((4, 5), lambda net, x: op.tile(x, [2, 1, 3])),
    "tiled_last_axis": ((4, 5), lambda net, x: op.tile(x, [2])),
    "repeated_flat": ((4, 5), lambda net, x: op.repeat(x, 3)),
    "flipped": ((4, 5), lambda net, x: op.flip(x, -1)),
    "wrapped_around": ((1, 2, 5), lambda net, x: nn.pad(x, (0, 0, 0, 0, 2, 1), "circular")),
    "padded_with_a_value": ((2, 5), lambda net, x: nn.pad(x, (1, 0, 0, 2), pad_value=2.5)),
    "sliced_by_tensors": ((4, 5), sliced_by_tensors),
    "permuted_layout": (
        (1, 8, 3, 2),
        lambda net, x: op.layout_transform(x, lambda n, c, h, w: (n, h, w, c)),
    ),
    "squeezed_all": ((1, 4, 1, 5), lambda net, x: op.squeeze(x)),
    "flattened_batch": ((2, 4, 3), lambda net, x: nn.batch_flatten(x)),
    "full_of_a_parameter": (
        (4, 5),
        lambda net, x: op.add(x, op.full((4, 5), net.parameter((), "scale"), "float32")),
    ),
    "like": (
        (4, 5),
        lambda net, x: op.subtract(op.ones_like(x), op.full_like(x, relax.const(0.25))),
    ),
    "steep_softplus": ((4, 5), lambda net, x: nn.softplus(x, beta=2.0, threshold=0.5)),
    "soft_softplus": ((4, 5), lambda net, x: nn.softplus(x, beta=0.5)),
    "slopes_of_rows": ((2, 3, 5), lambda net, x: nn.prelu(x, net.parameter((3,)), axis=1)),
    "slopes_of_columns": ((2, 3, 5), lambda net, x: nn.prelu(x, net.parameter((5,)), axis=2)),
    "half_precision": ((2, 6), half_precision),
    "integer_arithmetic": (
        (4, 5),
        lambda net, x: op.floor_divide(
            op.astype(op.multiply(x, relax.const(9.0)), "int32"), relax.const(4, "int32")
        ),
    ),
    "integer_clip": (
        (4, 5),
        lambda net, x: op.clip(op.astype(op.multiply(x, relax.const(9.0)), "int32"), -2, 3),
    ),
    "rounded_halves": (
        (4, 5),
        lambda net, x: op.round(op.divide(op.floor(op.multiply(x, relax.const(9.0))), scalar(2.0))),
    ),
    "a_constant_shape": (
        (4, 5),
        lambda net, x: op.add(x, op.astype(op.shape_to_tensor(relax.ShapeExpr([5])), "float32")),
    ),
    "sampled": (
        (1, 2, 6, 5),
        lambda net, x: op.image.grid_sample(x, op.tanh(net.parameter((1, 2, 3, 4)))),
    ),
}


CASES = {
    f"{kind}-{name}": case
    for kind, cases in {
        "convolution": CONVOLUTIONS,
        "norm": NORMS,
        "attention": ATTENTION,
        "other": OTHERS,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize(("shape", "body"), CASES.values(), ids=CASES)
def test_the_onnx_form_computes_what_relax_does(shape: tuple[int, ...], body: Body) -> None:
    assert_same_in_onnx(model_of(build(body, shape)))


def test_pixels_are_shuffled_in_the_order_of_torch() -> None:
    model = model_of(build(lambda net, x: nn.pixel_shuffle(x, 2), (1, 8, 3, 2)))
    inputs = sample(model.inputs)
    blocks = inputs["x"].reshape(1, 2, 2, 2, 3, 2).transpose(0, 1, 4, 2, 5, 3)
    assert_close(run_onnx(checked(to_onnx(model)), inputs), [blocks.reshape(1, 2, 6, 4)])
