"""Models go to ONNX and come back as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.exactness import random_removal
from support.networks import Body, Layers, build
from support.onnx_comparison import assert_close, checked, model_of, run_onnx, sample
from support.onnx_models import light, onnx_model, weight
from support.op_graphs import OP_GRAPHS
from tvm import relax

from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import PruneChannels, prune_parameters

op = relax.op
Array = NDArray[Any]


def transformer(net: Layers, x: Any) -> Any:
    """Tokens, a normalization, attention by matrix products, a hidden layer."""

    def normed(tokens: Any) -> Any:
        gamma, beta = net.parameter((8,), "gamma"), net.parameter((8,), "beta")
        return net.emit(op.nn.layer_norm(tokens, gamma, beta, axes=[-1]))

    def heads(tokens: Any) -> Any:
        split = op.reshape(net.linear(tokens, 8), (2, 36, 2, 4))
        return net.emit(op.permute_dims(split, [0, 2, 1, 3]))

    flat = op.reshape(net.conv(x, 8), (2, 8, 36))
    tokens = net.emit(op.permute_dims(flat, [0, 2, 1]))
    h = normed(tokens)
    query, key, value = heads(h), heads(h), heads(h)
    scores = op.matmul(query, net.emit(op.permute_dims(key, [0, 1, 3, 2])))
    mixed = op.matmul(net.emit(op.nn.softmax(op.multiply(scores, relax.const(0.5)))), value)
    merged = op.reshape(op.permute_dims(net.emit(mixed), [0, 2, 1, 3]), (2, 36, 8))
    tokens = net.emit(op.add(tokens, net.linear(merged, 8)))
    hidden = net.emit(op.nn.gelu(net.linear(normed(tokens), 12)))
    return net.linear(op.mean(op.add(tokens, net.linear(hidden, 8)), [1]), 5)


def classifier(net: Layers, x: Any) -> Any:
    """Torch's layers: biases are vectors, dense weights have the outputs first."""
    bias = net.emit(op.reshape(net.parameter((8,), "bias"), (1, 8, 1, 1)))
    h = op.nn.relu(op.add(net.conv(x, 8, 3), bias))
    h = net.emit(op.nn.adaptive_avg_pool2d(h, output_size=(2, 2)))
    weight = net.emit(op.permute_dims(net.parameter((5, 32)), [1, 0]))
    logits = op.matmul(net.emit(op.reshape(h, (2, 32))), weight)
    return op.add(net.emit(logits), net.parameter((5,), "bias"))


NETWORKS: dict[str, Body] = {
    "transformer": transformer,
    "classifier": classifier,
    "batch_norms": OP_GRAPHS["relax.nn.batch_norm"][""],
    "grouped": OP_GRAPHS["relax.nn.conv2d"]["grouped"],
    "depthwise": OP_GRAPHS["relax.nn.conv2d"]["depthwise"],
    "channels_last": OP_GRAPHS["relax.nn.conv2d"]["nhwc"],
    "shuffled": OP_GRAPHS["relax.reshape"]["shuffle2"],
    "split": OP_GRAPHS["relax.split"]["indices"],
    "average_pool": OP_GRAPHS["relax.nn.avg_pool2d"][""],
}


def assert_returns(model: Model) -> Model:
    """The model comes back with its parameters, names and outputs."""
    proto = checked(to_onnx(model))
    back = load_onnx(proto)
    assert back.name == model.name
    assert (back.inputs, back.outputs) == (model.inputs, model.outputs)
    shapes = {name: value.shape for name, value in model.parameters.items()}
    assert {name: value.shape for name, value in back.parameters.items()} == shapes
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(back.parameters[name], value)
    inputs = sample(model.inputs)
    expected = run_onnx(proto, inputs)
    assert all(np.abs(output).max() > 1e-3 for output in expected)
    assert_close(run_onnx(checked(to_onnx(back)), inputs), expected)
    return back


def pruned(model: Model) -> Model:
    channels = find_channels(model.module)
    plan = plan_for_units(channels, random_removal(channels), model.parameters)
    parameters = prune_parameters(model.parameters, plan)
    return model_of(PruneChannels(plan)(model.module), parameters)


@pytest.mark.parametrize("body", NETWORKS.values(), ids=NETWORKS)
def test_a_model_returns_dense_and_pruned(body: Body) -> None:
    model = model_of(build(body))
    assert_returns(model)
    assert_returns(pruned(model))


@pytest.mark.parametrize("body", NETWORKS.values(), ids=NETWORKS)
def test_a_model_that_returned_has_the_same_groups(body: Body) -> None:
    model = model_of(build(body))
    back = load_onnx(to_onnx(model))
    before, after = (find_channels(each.module) for each in (model, back))
    assert sorted(group.width for group in before.groups) == sorted(
        group.width for group in after.groups
    )


def random_weights(model: Model) -> dict[str, Array]:
    """Weights in place of the equal ones that the light models have."""
    generator = np.random.default_rng(0)
    return {
        name: (
            generator.uniform(0.5, 1.5, value.shape)
            if value.ndim < 2
            else generator.standard_normal(value.shape) / value[0].size ** 0.5
        ).astype(value.dtype)
        for name, value in model.parameters.items()
    }


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1"])
def test_a_well_known_architecture_returns(name: str) -> None:
    model = load_onnx(light(name))
    back = assert_returns(model.with_parameters(random_weights(model)))
    assert len(find_channels(back.module).groups) == len(find_channels(model.module).groups)


LAYERS = """
    c = Conv <pads = [1, 1, 1, 1]> (x, conv1__weight, conv1__bias)
    b = BatchNormalization (c, norm__weight, norm__bias, norm__mean, norm__variance)
    a = HardSwish (b)
    p = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (a)
    t = ConvTranspose <strides = [2, 2]> (p, up__weight, up__bias)
    r = PRelu (t, slope)
    u, v = Split <axis = 1> (r)
    s = Concat <axis = 1> (v, u)
    n = InstanceNormalization (s, style__weight, style__bias)
    g = GlobalAveragePool (n)
    m = ReduceMax <axes = [2, 3]> (s)
    f = Flatten (g)
    d = Gemm <alpha = 0.5, transB = 1> (f, head__weight, head__bias)
    y = Softmax (d)
    z = Add (m, f)
"""


def test_the_onnx_form_of_an_onnx_model_computes_the_same() -> None:
    weights = {
        "conv1.weight": weight(6, 3, 3, 3),
        "conv1.bias": weight(6),
        **{f"norm.{name}": np.abs(weight(6)) for name in ("weight", "bias", "mean", "variance")},
        "up.weight": weight(6, 4, 2, 2),
        "up.bias": weight(4),
        "slope": weight(4, 1, 1),
        "style.weight": weight(4),
        "style.bias": weight(4),
        "head.weight": weight(5, 4),
        "head.bias": weight(5),
    }
    source = onnx_model(LAYERS, weights, outputs="y,z", check=False)
    model = load_onnx(source)
    proto = checked(to_onnx(model))
    assert {tensor.name for tensor in proto.graph.initializer} == set(weights)
    inputs = sample(model.inputs)
    expected = run_onnx(source, inputs)
    assert expected[0].std() > 0.01
    assert_close(run_onnx(proto, inputs), expected)
