"""One form for each thing said: padding as numbers, norms as one node, no copies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import tvm
from support.agreement import assert_same_results
from support.onnx_models import Array, onnx_model, weight
from tvm import relax

from tvm_prune.channels import find_channels
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model

WEIGHTS: Mapping[str, Array] = {"w1": weight(8, 3, 3, 3), "w2": weight(4, 8, 1, 1)}


def op_counts(model: Model) -> Counter[str]:
    """How often the model calls each op, and functions outside the op table."""
    values = [b.value for block in model.module["main"].body.blocks for b in block.bindings]
    return Counter(value.op.name for value in values if isinstance(value, relax.Call))


def widths(model: Model) -> list[int]:
    channels = find_channels(model.module)
    assert not channels.labelling.barriers
    return [group.width for group in channels.groups]


WINDOWS = {
    "convolution": 'a = Conv <auto_pad="MODE", strides=[STRIDE,STRIDE]> (x, w1)',
    "max_pool": """
        h = Conv(x, w1)
        a = MaxPool <auto_pad="MODE", kernel_shape=[3,3], strides=[STRIDE,STRIDE]> (h)
    """,
    "average_pool": """
        h = Conv(x, w1)
        a = AveragePool <auto_pad="MODE", kernel_shape=[3,3], strides=[STRIDE,STRIDE]> (h)
    """,
    "transposed_convolution": """
        h = Conv(x, w1) a = ConvTranspose <auto_pad="MODE", strides=[STRIDE,STRIDE]> (h, up)
    """,
}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("window", WINDOWS)
def test_automatic_padding_is_no_operation_of_its_own(window: str, mode: str, stride: int) -> None:
    body = WINDOWS[window].replace("MODE", mode).replace("STRIDE", str(stride))
    weights = dict(WEIGHTS)
    if window == "transposed_convolution":
        weights["up"] = weight(8, 8, 3, 3)
    model = assert_same_results(onnx_model(f"{body} y = Conv(a, w2)", weights))
    assert not {"relax.call_tir", "relax.nn.pad"} & set(op_counts(model))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding_counts_the_dilated_window(mode: str) -> None:
    # ONNX Runtime does not run this; five positions of three taps need two more on each side.
    body = f'a = Conv <auto_pad="{mode}", dilations=[2,2]> (x, w1) y = Conv(a, w2)'
    explicit = onnx_model(body.replace(f'auto_pad="{mode}"', "pads=[2,2,2,2]"), WEIGHTS)
    same = load_onnx(onnx_model(body, WEIGHTS))
    tvm.ir.assert_structural_equal(same.module, load_onnx(explicit).module)


def layer_norm_body(axes: str, square: str) -> str:
    return f"""
        h = Conv(x, w1) t = Transpose <perm=[0,2,3,1]> (h)
        mean = ReduceMean <{axes}> (t) centred = Sub(t, mean) squared = {square}
        variance = ReduceMean <{axes}> (squared) shifted = Add(variance, epsilon)
        deviation = Sqrt(shifted) normal = Div(centred, deviation)
    """


AFFINE = "scaled = Mul(normal, gamma) n = Add(beta, scaled) y = MatMul(n, w2)"
NORM_WEIGHTS: Mapping[str, Array] = {
    "w1": weight(8, 3, 3, 3),
    "w2": weight(8, 4),
    "epsilon": np.asarray(1e-3, "float32"),
    "two": np.asarray(2, "float32"),
    "gamma": weight(8, seed=1),
    "beta": weight(8, seed=2),
}
SQUARES = ["Pow(centred, two)", "Mul(centred, centred)"]


def norm_model(body: str, opset: int, **others: Array) -> onnx.ModelProto:
    read = {**NORM_WEIGHTS, **others}
    return onnx_model(body, {k: v for k, v in read.items() if k in body}, opset=opset)


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("axis", [-1, 3])
def test_a_layer_norm_written_as_arithmetic_is_one_op(axis: int, square: str, opset: int) -> None:
    body = layer_norm_body(f"axes=[{axis}]", square) + AFFINE
    model = assert_same_results(norm_model(body, opset))
    counts = op_counts(model)
    assert counts["relax.nn.layer_norm"] == 1
    assert not {"relax.mean", "relax.sqrt", "relax.divide"} & set(counts)
    assert {"gamma", "beta"} <= set(model.parameters)
    assert widths(model) == [8]


def test_a_layer_norm_without_scale_and_shift_is_one_op() -> None:
    body = layer_norm_body("axes=[-1]", SQUARES[0]) + "y = MatMul(normal, w2)"
    model = assert_same_results(norm_model(body, 17))
    assert op_counts(model)["relax.nn.layer_norm"] == 1
    assert widths(model) == [8]


def test_a_scale_of_another_shape_stays_outside_the_layer_norm() -> None:
    body = layer_norm_body("axes=[-1]", SQUARES[0]) + AFFINE
    gamma = weight(6, 1, seed=1)
    model = assert_same_results(norm_model(body, 17, gamma=gamma))
    assert op_counts(model)["relax.nn.layer_norm"] == 1
    assert model.parameters["gamma"].shape == (6, 1)


RESEMBLING = {
    "other_axis": ("variance = ReduceMean <axes=[-1]>", "variance = ReduceMean <axes=[2]>"),
    "not_centred": ("Div(centred, deviation)", "Div(t, deviation)"),
    "fourth_power": ("Pow(centred, two)", "Pow(centred, four)"),
    "negated": ("Sub(t, mean)", "Sub(mean, t)"),
}


@pytest.mark.parametrize(("old", "new"), RESEMBLING.values(), ids=RESEMBLING)
def test_what_only_resembles_a_layer_norm_stays_arithmetic(old: str, new: str) -> None:
    body = layer_norm_body("axes=[-1]", SQUARES[0]) + AFFINE
    assert old in body
    proto = norm_model(body.replace(old, new), 17, four=np.asarray(4, "float32"))
    assert not op_counts(assert_same_results(proto))["relax.nn.layer_norm"]


COPIES = {
    "identity": "b = Identity(a)",
    "dropout": "b = Dropout(a)",
    "dropout_of_identity": "i = Identity(a) b = Dropout(i)",
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_disappear(copy: str) -> None:
    model = assert_same_results(onnx_model(f"a = Conv(x, w1) {copy} y = Conv(b, w2)", WEIGHTS))
    assert not set(op_counts(model)) - {"relax.nn.conv2d"}


def test_a_copy_that_is_an_output_keeps_its_name() -> None:
    body = "a = Conv(x, w1) y = Conv(a, w2) z = Identity(y)"
    model = assert_same_results(onnx_model(body, WEIGHTS, outputs="y,z"))
    assert [spec.name for spec in model.outputs] == ["y", "z"]


def test_a_copied_weight_keeps_its_name() -> None:
    body = "w = Identity(w1) a = Conv(x, w) y = Conv(a, w2)"
    assert set(assert_same_results(onnx_model(body, WEIGHTS)).parameters) == {"w1", "w2"}


NORM = {
    "scale": weight(8, seed=1),
    "shift": weight(8, seed=2),
    "mean": weight(8, seed=3),
    "var": np.abs(weight(8, seed=4)) + 0.5,
}


def test_a_batch_norm_exported_in_training_mode_uses_its_statistics() -> None:
    body = "a = Conv(x, w1) RESULTS (a, scale, shift, mean, var) y = Conv(b, w2)"
    training = body.replace("RESULTS", "b, m, v = BatchNormalization <training_mode=1>")
    inference = body.replace("RESULTS", "b = BatchNormalization")
    weights = {**WEIGHTS, **NORM}
    expected = assert_same_results(onnx_model(inference, weights, opset=15))
    model = load_onnx(onnx_model(training, weights, opset=15))
    tvm.ir.assert_structural_equal(model.module, expected.module)


def test_a_transposed_weight_of_a_dense_layer_is_read_as_it_stands() -> None:
    body = "f = Flatten(x) t = Transpose(w) a = Gemm(f, t, b) y = Gemm <transB=1> (a, v)"
    weights = {"w": weight(6, 192), "b": weight(6), "v": weight(4, 6)}
    model = assert_same_results(onnx_model(body, weights))
    assert model.parameters["w"].shape == (6, 192)
    assert widths(model) == [6]


OLD = {
    "squeeze": ("p = GlobalAveragePool(a) s = Squeeze <axes=[2,3]> (p) y = Gemm(s, fc, fb)", 7),
    "sum": ("s = ReduceSum <axes=[2,3], keepdims=1> (a) y = Conv(s, w2)", 9),
    "pad": ("p = Pad <pads=[0,0,1,1,0,0,1,1]> (a) y = Conv(p, w2)", 9),
    "upsample": ('u = Upsample <scales=[1.0,1.0,2.0,2.0], mode="nearest"> (a) y = Conv(u, w2)', 7),
    "batch_norm": ("n = BatchNormalization(a, scale, shift, mean, var) y = Conv(n, w2)", 7),
    "slice": ("s = Slice <starts=[0], ends=[4], axes=[2]> (a) y = Conv(s, w2)", 7),
    "softmax": ("g = GlobalAveragePool(a) c = Conv(g, w2) y = Softmax(c)", 7),
    "dropout": ("d = Dropout <ratio=0.5> (a) y = Conv(d, w2)", 7),
}


@pytest.mark.parametrize(("body", "opset"), OLD.values(), ids=OLD)
def test_operators_of_old_files_compute_the_same(body: str, opset: int) -> None:
    weights = {**WEIGHTS, **NORM, "fc": weight(8, 5), "fb": weight(5)}
    used = {k: v for k, v in weights.items() if k == "w1" or re.search(rf"\b{k}\b", body)}
    model = assert_same_results(onnx_model(f"a = Conv(x, w1) {body}", used, opset=opset))
    assert set(model.parameters) == set(used)
    assert widths(model) == [8]
