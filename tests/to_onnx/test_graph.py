"""The ONNX graph is one that people can go on with: names, parameters, layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from support.exactness import random_removal
from support.networks import Body, Layers, build, shape_of
from support.onnx_comparison import assert_close, checked, model_of, run_onnx, sample
from support.op_graphs import OP_GRAPHS
from tvm import relax

from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.model import Model
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import PruneChannels, prune_parameters

op = relax.op


def nodes_of(body: Body, shape: tuple[int, ...]) -> list[onnx.NodeProto]:
    """Nodes of the ONNX form but for constants."""
    proto = checked(to_onnx(model_of(build(body, shape))))
    return [node for node in proto.graph.node if node.op_type != "Constant"]


def types_of(body: Body, shape: tuple[int, ...] = (2, 3, 6, 6)) -> list[str]:
    return [node.op_type for node in nodes_of(body, shape)]


def reshaped_bias(net: Layers, x: Any, shape: tuple[int, ...]) -> Any:
    return net.emit(op.reshape(net.parameter((max(shape),), "bias"), shape))


def test_initializers_are_the_parameters_under_their_own_names() -> None:
    def body(net: Layers, x: Any) -> Any:
        h = net.batch_norm(net.conv(x, 8, 3))
        return net.linear(op.mean(op.multiply(h, relax.const(2.0)), [2, 3]), 5)

    model = model_of(build(body))
    proto = to_onnx(model)
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert list(found) == list(model.parameters)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(found[name], value)


def test_inputs_and_outputs_have_the_models_names() -> None:
    model = model_of(build(lambda net, x: net.head(net.conv(x, 4))))
    proto = to_onnx(model)
    assert [value.name for value in proto.graph.input] == ["x"]
    assert [value.name for value in proto.graph.output] == ["y"]
    assert proto.graph.name == model.name


def test_tensors_have_the_names_of_relax_variables() -> None:
    model = model_of(build(lambda net, x: net.head(net.block(x, 4))))
    variables = {
        binding.var.name for block in model.module["main"].body.blocks for binding in block.bindings
    }
    proto = to_onnx(model)
    computed = [node for node in proto.graph.node if node.op_type != "Constant"]
    assert {node.output[0] for node in computed} <= variables | {"y"}
    assert all(node.name == node.output[0] for node in proto.graph.node)
    assert {info.name for info in proto.graph.value_info} == {
        node.output[0] for node in computed
    } - {"y"}


def test_names_that_collide_are_told_apart() -> None:
    x = relax.Var("lv", relax.TensorType((2, 3), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            first = builder.emit(op.nn.relu(x), name_hint="y")
            second = builder.emit(op.exp(first), name_hint="lv")
            result = builder.emit_output(op.add(first, second))
        builder.emit_func_output(result)
    module = builder.get()
    module["main"] = module["main"].with_attr("num_input", 1)
    model = model_of(module)
    value = sample(model.inputs)
    (expected,) = (np.maximum(value["lv"], 0),)
    assert_close(run_onnx(checked(to_onnx(model)), value), [expected + np.exp(expected)])


def test_an_output_may_be_an_input_a_parameter_or_another_output() -> None:
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    weight = relax.Var("w", relax.TensorType((3,), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x, weight]):
        with builder.dataflow():
            total = builder.emit_output(op.add(x, weight))
        builder.emit_func_output(relax.Tuple([total, x, weight, total]))
    module = builder.get()
    module["main"] = module["main"].with_attr("num_input", 1)
    model = model_of(module)
    value = sample(model.inputs)["x"]
    parameter = model.parameters["w"]
    expected = [value + parameter, value, parameter, value + parameter]
    assert_close(run_onnx(checked(to_onnx(model)), {"x": value}), expected)


CONV_WITH_BIAS = {
    "reshaped": lambda net, x: op.add(net.conv(x, 4), reshaped_bias(net, x, (1, 4, 1, 1))),
    "on_the_left": lambda net, x: op.add(reshaped_bias(net, x, (4, 1, 1)), net.conv(x, 4)),
    "expanded": lambda net, x: op.add(
        net.conv(x, 4), net.emit(op.expand_dims(net.parameter((4,), "bias"), [1, 2]))
    ),
}


@pytest.mark.parametrize("body", CONV_WITH_BIAS.values(), ids=CONV_WITH_BIAS)
def test_a_vector_added_to_every_pixel_is_the_convolutions_bias(body: Body) -> None:
    (node,) = nodes_of(body, (2, 3, 6, 6))
    assert node.op_type == "Conv"
    assert len(node.input) == 3
    assert node.input[2].startswith("bias")


def test_a_vector_added_to_a_convolution_with_channels_last_is_its_bias() -> None:
    def body(net: Layers, x: Any) -> Any:
        weight = net.parameter((1, 1, 3, 4))
        h = op.nn.conv2d(x, weight, data_layout="NHWC", kernel_layout="HWIO")
        return op.add(net.emit(h), net.parameter((4,), "bias"))

    conv = next(node for node in nodes_of(body, (2, 6, 6, 3)) if node.op_type == "Conv")
    assert conv.input[2] == "bias1"


def used_twice(net: Layers, x: Any) -> Any:
    h = net.conv(x, 4)
    return op.multiply(op.add(h, reshaped_bias(net, x, (1, 4, 1, 1))), h)


NOT_A_BIAS = {
    "of_its_own_rank": lambda net, x: op.add(net.conv(x, 4), net.parameter((1, 4, 1, 1))),
    "along_the_width": lambda net, x: op.add(net.conv(x, 6), net.parameter((6,), "bias")),
    "one_number": lambda net, x: op.add(net.conv(x, 4), net.parameter((1,), "bias")),
    "used_twice": used_twice,
}


@pytest.mark.parametrize("body", NOT_A_BIAS.values(), ids=NOT_A_BIAS)
def test_other_additions_stay(body: Body) -> None:
    assert "Add" in types_of(body)


def dense(transposed: bool, bias: bool) -> Body:
    def body(net: Layers, x: Any) -> Any:
        features = shape_of(x)[-1]
        shape = (5, features) if transposed else (features, 5)
        weight = net.parameter(shape, "weight")
        if transposed:
            weight = net.emit(op.permute_dims(weight, [1, 0]))
        h = net.emit(op.matmul(x, weight))
        return op.add(h, net.parameter((5,), "bias")) if bias else h

    return body


@pytest.mark.parametrize(
    ("transposed", "bias", "op_type"),
    [(True, True, "Gemm"), (True, False, "Gemm"), (False, True, "Gemm"), (False, False, "MatMul")],
)
def test_a_dense_layer_is_one_node(transposed: bool, bias: bool, op_type: str) -> None:
    (node,) = nodes_of(dense(transposed, bias), (2, 7))
    assert node.op_type == op_type
    assert node.input[1] == "weight0"
    assert len(node.input) == (3 if bias else 2)
    assert {entry.name for entry in node.attribute} == ({"transB"} if transposed else set())


def test_a_dense_layer_on_tokens_keeps_its_weight_as_it_is() -> None:
    nodes = nodes_of(dense(transposed=True, bias=True), (2, 4, 7))
    assert [node.op_type for node in nodes] == ["Transpose", "MatMul", "Add"]
    assert nodes[0].input[0] == "weight0"


def test_a_batch_norm_is_one_node_in_its_inference_form() -> None:
    (node,) = nodes_of(lambda net, x: net.batch_norm(x), (2, 3, 6, 6))
    assert node.op_type == "BatchNormalization"
    assert [name.rstrip("0123456789") for name in node.input[1:]] == [
        "gamma",
        "beta",
        "mean",
        "variance",
    ]


def test_dropout_leaves_no_trace() -> None:
    def body(net: Layers, x: Any) -> Any:
        return op.nn.relu(net.emit(net.emit(op.nn.dropout(x, 0.5))[0]))

    assert types_of(body) == ["Relu"]


@pytest.mark.parametrize(
    ("body", "opset"),
    [
        (lambda net, x: op.nn.relu(x), 18),
        (lambda net, x: op.nn.gelu(x), 20),
        (lambda net, x: op.nn.rms_norm(x, net.parameter((6,)), axes=[-1]), 23),
    ],
    ids=["relu", "gelu", "rms_norm"],
)
def test_the_opset_is_the_oldest_that_has_the_ops(body: Body, opset: int) -> None:
    proto = to_onnx(model_of(build(body)))
    assert [entry.version for entry in proto.opset_import] == [opset]


GRAPHS = {
    f"{name.removeprefix('relax.')}-{variant}": body
    for name, variants in OP_GRAPHS.items()
    for variant, body in variants.items()
}


PARAMETRIC = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")


def tensor_ranks(proto: onnx.ModelProto) -> dict[str, int]:
    infos = [*proto.graph.value_info, *proto.graph.output]
    return {info.name: len(info.type.tensor_type.shape.dim) for info in infos}


def layer_nodes(proto: onnx.ModelProto) -> list[tuple[str, str, list[str]]]:
    return [
        (node.name, node.op_type, list(node.input))
        for node in proto.graph.node
        if node.op_type in PARAMETRIC
    ]


@pytest.mark.parametrize("body", GRAPHS.values(), ids=GRAPHS)
def test_pruning_keeps_the_names_of_tensors_and_layers(body: Body) -> None:
    model = model_of(build(body))
    dense_form, pruned_form = to_onnx(model), to_onnx(pruned(model))
    assert tensor_ranks(dense_form).items() <= tensor_ranks(pruned_form).items()
    assert layer_nodes(dense_form) == layer_nodes(pruned_form)


def pruned(model: Model) -> Model:
    channels = find_channels(model.module)
    assert channels.groups
    plan = plan_for_units(channels, random_removal(channels), model.parameters)
    parameters = prune_parameters(model.parameters, plan)
    return model_of(PruneChannels(plan)(model.module), parameters)
