"""ONNX models arrive whole: same results, same parameter names, no barriers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from support.agreement import assert_same_results
from support.onnx_models import Array, constant_nodes, light, onnx_model, weight

from tvm_prune.channels import Channels, find_channels
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model

CNN = """
    a = Conv <pads=[1,1,1,1]> (x, first__weight, first__bias)
    b = BatchNormalization (a, bn__scale, bn__shift, bn__mean, bn__var)
    c = Relu (b)
    d = Conv <group=8, pads=[1,1,1,1]> (c, depthwise__weight)
    e = Conv (d, second__weight)
    f = Add (e, c)
    g = Concat <axis=1> (f, c)
    h = MaxPool <kernel_shape=[2,2], strides=[2,2]> (g)
    i = GlobalAveragePool (h)
    j = Flatten (i)
    y = Gemm <transB=1> (j, fc__weight, fc__bias)
"""
CNN_WEIGHTS: Mapping[str, Array] = {
    "first.weight": weight(8, 3, 3, 3),
    "first.bias": weight(8, seed=1),
    "bn.scale": weight(8, seed=2),
    "bn.shift": weight(8, seed=3),
    "bn.mean": weight(8, seed=4),
    "bn.var": np.abs(weight(8, seed=5)) + 0.5,
    "depthwise.weight": weight(8, 1, 3, 3, seed=6),
    "second.weight": weight(8, 8, 1, 1, seed=7),
    "fc.weight": weight(5, 16, seed=8),
    "fc.bias": weight(5, seed=9),
}


def channels_of(model: Model) -> Channels:
    channels = find_channels(model.module)
    assert not channels.labelling.barriers
    return channels


def test_a_small_cnn_computes_what_onnxruntime_computes() -> None:
    model = assert_same_results(onnx_model(CNN, CNN_WEIGHTS))
    assert model.name == "net"
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("x", (1, 3, 8, 8))]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("y", (1, 5))]


def test_parameters_keep_the_names_and_values_of_the_file() -> None:
    model = load_onnx(onnx_model(CNN, CNN_WEIGHTS))
    assert set(model.parameters) == set(CNN_WEIGHTS)
    for name, value in CNN_WEIGHTS.items():
        np.testing.assert_array_equal(model.parameters[name], value)


def test_the_residual_cnn_has_one_group() -> None:
    # Depthwise, second (through the addition) and first all carry the same eight channels.
    (group,) = channels_of(load_onnx(onnx_model(CNN, CNN_WEIGHTS))).groups
    assert group.width == 8
    assert {entry.parameter for entry in group.slices} == set(CNN_WEIGHTS) - {"fc.bias"}


WITHOUT_WEIGHTS = {
    "softmax": ("a = GlobalAveragePool(x) y = Softmax <axis=1> (a)", 17),
    "average_pool": ("y = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)", 17),
    "hard_swish": ("y = HardSwish(x)", 17),
    "hard_sigmoid": ("y = HardSigmoid <alpha=0.2, beta=0.5> (x)", 17),
    "leaky_relu": ("y = LeakyRelu <alpha=0.1> (x)", 17),
    "sigmoid_gate": ("a = Sigmoid(x) y = Mul(a, x)", 17),
    "gelu": ("y = Gelu(x)", 20),
    "elu": ("y = Elu(x)", 17),
    "softplus": ("y = Softplus(x)", 17),
    "clip_attributes": ("y = Clip <min=0.0, max=0.5> (x)", 6),
    "transpose": ("y = Transpose <perm=[0,2,3,1]> (x)", 17),
    "two_outputs": ("y = Relu(x) z = Tanh(x)", 17),
}


@pytest.mark.parametrize(("body", "opset"), WITHOUT_WEIGHTS.values(), ids=WITHOUT_WEIGHTS)
def test_activations_and_pools_compute_the_same(body: str, opset: int) -> None:
    outputs = "y,z" if "z =" in body else "y"
    model = assert_same_results(onnx_model(body, opset=opset, outputs=outputs))
    channels_of(model)


def test_a_light_model_computes_what_onnxruntime_computes() -> None:
    assert_same_results(onnx.load(light("squeezenet")))


def clipped(low: float, high: float | None) -> onnx.ModelProto:
    bounds = {"low": low, "high": high}
    given = {
        name: np.asarray(bound, "float32") for name, bound in bounds.items() if bound is not None
    }
    return onnx_model(
        f"a = Conv(x, w1) b = Clip(a, {', '.join(given)}) y = Conv(b, w2)",
        {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1), **given},
        opset=13,
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-0.25, 0.25), (0.0, None)])
def test_clip_with_tensor_bounds_lets_channels_pass(low: float, high: float | None) -> None:
    model = assert_same_results(clipped(low, high))
    assert [group.width for group in channels_of(model).groups] == [8]


@pytest.mark.parametrize("opset", [6, 10])
def test_clip_with_attributes_lets_channels_pass(opset: int) -> None:
    model = assert_same_results(
        onnx_model(
            "a = Conv(x, w1) b = Clip <min=0.0, max=0.5> (a) y = Conv(b, w2)",
            {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1)},
            opset=opset,
        )
    )
    assert [group.width for group in channels_of(model).groups] == [8]


def two_branches(second: str) -> onnx.ModelProto:
    return onnx_model(
        f"a = Conv(x, w1, zeros) b = Conv(x, w2, {second}) c = Sigmoid(a) d = Concat<axis=1>(c, b) "
        "y = Conv(d, w3)",
        {
            "w1": weight(8, 3, 1, 1),
            "w2": weight(8, 3, 1, 1, seed=1),
            "w3": weight(4, 16, 1, 1),
            "zeros": np.zeros(8, "float32"),
        },
    )


def test_a_weight_that_two_layers_share_becomes_two_parameters() -> None:
    model = assert_same_results(two_branches("zeros"))
    assert {"zeros", "zeros#2"} <= set(model.parameters)
    assert [group.width for group in channels_of(model).groups] == [8, 8]


def test_weights_as_constant_nodes_are_parameters_of_the_same_name() -> None:
    model = assert_same_results(constant_nodes(onnx_model(CNN, CNN_WEIGHTS)))
    assert set(model.parameters) == set(CNN_WEIGHTS)
    assert [group.width for group in channels_of(model).groups] == [8]


def test_constant_nodes_are_found_when_the_simplifier_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("a bug of the simplifier")

    monkeypatch.setattr("onnxslim.slim", fail)
    model = assert_same_results(constant_nodes(onnx_model(CNN, CNN_WEIGHTS)))
    assert set(model.parameters) == set(CNN_WEIGHTS)


def test_the_shape_of_a_reshape_is_no_parameter() -> None:
    proto = onnx_model(
        "a = Conv(x, w1) b = GlobalAveragePool(a) c = Reshape(b, target) y = MatMul(c, w2)",
        {
            "w1": weight(8, 3, 1, 1),
            "w2": weight(8, 5),
            "target": np.array([1, -1]),
        },
    )
    model = assert_same_results(proto)
    assert set(model.parameters) == {"w1", "w2"}
    assert [group.width for group in channels_of(model).groups] == [8]


def test_weights_listed_among_the_inputs_are_parameters() -> None:
    proto = onnx_model(CNN, CNN_WEIGHTS)
    for tensor in proto.graph.initializer:
        listed = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        proto.graph.input.append(listed)
    model = load_onnx(proto)
    assert [spec.name for spec in model.inputs] == ["x"]
    assert set(model.parameters) == set(CNN_WEIGHTS)


def test_a_dynamic_batch_is_fixed_by_the_given_shape() -> None:
    proto = onnx_model(CNN, CNN_WEIGHTS, inputs="float[batch,3,8,8] x")
    model = assert_same_results(proto, shapes={"x": (2, 3, 8, 8)})
    assert model.outputs[0].shape == (2, 5)


def test_a_sum_of_three_becomes_additions_that_tie_its_operands() -> None:
    weights = {f"w{scale}": weight(8, 3, 1, 1) * (1 + scale) for scale in range(3)}
    weights["last"] = weight(4, 8, 1, 1)
    body = "a = Conv(x, w0) b = Conv(x, w1) c = Conv(x, w2) s = Sum(a, b, c) y = Conv(s, last)"
    model = assert_same_results(onnx_model(body, weights))
    (group,) = channels_of(model).groups
    assert {entry.parameter for entry in group.slices} == set(weights)
