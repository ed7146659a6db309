"""What ONNX cannot express is named, with a way out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.networks import Body, Layers, build
from support.onnx_comparison import model_of
from tvm import relax, te, tirx

from tvm_prune.errors import ExportError
from tvm_prune.to_onnx import to_onnx
from tvm_prune.to_onnx.graph import element_type
from tvm_prune.to_onnx.rule import static_shape

op = relax.op


def called_function(net: Layers, x: Any) -> Any:
    def twice(tensor: Any) -> Any:
        return te.compute(tensor.shape, lambda *index: tensor[index] * tirx.const(2.0), "twice")

    return net.builder.emit_te(twice, x, primfunc_name_hint="twice")


def attention_in_a_window(net: Layers, x: Any) -> Any:
    query = net.emit(op.reshape(x, (2, 6, 3, 6)))
    return op.nn.attention(query, query, query, causal_mask="TopLeft", window_size=2)


REFUSED: dict[str, tuple[Body, str]] = {
    "an_unknown_op": (lambda net, x: op.nonzero(x), "the op 'nonzero', which computes 'gv'"),
    "a_function": (called_function, "the function 'twice', which computes 'lv'"),
    "a_window": (
        attention_in_a_window,
        "nn.attention .* sliding window; give the window as a bias",
    ),
    "a_packed_layout": (
        lambda net, x: op.layout_transform(x, lambda n, c, h, w: (n, c // 3, h, w, c % 3)),
        "layout_transform 'y' .* the layout .*; use reshape and permute_dims",
    ),
    "statistics_of_some_pixels": (
        lambda net, x: op.nn.group_norm(
            x, net.parameter((3,)), net.parameter((3,)), 1, channel_axis=1, axes=[2]
        ),
        r"nn.group_norm 'y' .* the axes \[2\] of 4; normalise over every axis",
    ),
    "an_integer_convolution": (
        lambda net, x: op.nn.conv2d(
            op.astype(x, "int8"), relax.const(np.ones((4, 3, 1, 1)), "int8"), out_dtype="int32"
        ),
        "nn.conv2d 'y' .* the dtype int32; use floating point operands",
    ),
}


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED)
def test_what_onnx_does_not_have_is_refused(body: Body, message: str) -> None:
    model = model_of(build(lambda net, x: x))
    with pytest.raises(ExportError, match=message):
        to_onnx(replace(model, module=build(body)))


def test_a_dtype_that_onnx_does_not_have_is_refused() -> None:
    with pytest.raises(ExportError, match=r"tensor 'x' has the type float8_e4m3fn, .*; cast"):
        element_type("float8_e4m3fn", "tensor 'x'")


def test_a_shape_that_is_not_static_is_refused() -> None:
    rows = tirx.Var("rows", "int64")
    with pytest.raises(ExportError, match="not static; fix the shapes of the inputs"):
        static_shape(relax.TensorType((rows, 3), "float32"))


def test_models_above_two_gigabytes_are_refused() -> None:
    model = model_of(build(lambda net, x: net.linear(x, 5)))
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, "float32"), (2**30, 1), (0, 0))
    with pytest.raises(ExportError, match=r"'net' take 4.0 GB, but .* at most 2 GB; prune more"):
        to_onnx(model.with_parameters({"matmul0": huge}))
