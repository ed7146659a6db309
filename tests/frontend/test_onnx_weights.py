"""Weights are found wherever they stand, under the names and axes that the user knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.agreement import assert_same_results
from support.onnx_models import Array, onnx_model, weight

from tvm_prune.channels import find_channels
from tvm_prune.frontend import load_onnx

TWO_LAYERS: Mapping[str, Array] = {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1)}


def as_constant_nodes(proto: onnx.ModelProto, **attributes: Any) -> onnx.ModelProto:
    """The same model with some initializers as Constant nodes that hold these attributes."""
    for name, attribute in attributes.items():
        node = helper.make_node("Constant", [], [name], **{attribute[0]: attribute[1]})
        for tensor in [entry for entry in proto.graph.initializer if entry.name == name]:
            proto.graph.initializer.remove(tensor)
        proto.graph.node.insert(0, node)
    return proto


def test_a_bias_given_as_a_list_of_floats_is_a_parameter() -> None:
    bias = weight(8, seed=3)
    proto = onnx_model("a = Conv(x, w1, b) y = Conv(a, w2)", {**TWO_LAYERS, "b": bias})
    model = assert_same_results(as_constant_nodes(proto, b=("value_floats", bias.tolist())))
    np.testing.assert_array_equal(model.parameters["b"], bias)


def test_a_single_float_is_part_of_the_program() -> None:
    proto = onnx_model(
        "a = Conv(x, w1) b = Mul(a, s) y = Conv(b, w2)",
        {**TWO_LAYERS, "s": np.asarray(0.5, "float32")},
    )
    model = assert_same_results(as_constant_nodes(proto, s=("value_float", 0.5)))
    assert set(model.parameters) == {"w1", "w2"}


def test_integers_given_as_attributes_are_part_of_the_program() -> None:
    proto = onnx_model(
        "a = Conv(x, w1) b = Reshape(a, target) y = MatMul(b, w2)",
        {"w1": weight(8, 3, 1, 1), "w2": weight(64, 5), "target": np.array([1, 8, 64])},
    )
    model = assert_same_results(as_constant_nodes(proto, target=("value_ints", [1, 8, 64])))
    assert set(model.parameters) == {"w1", "w2"}


def test_a_constant_that_carries_the_mark_of_a_simplifier_is_read() -> None:
    proto = onnx_model("a = Conv(x, w1) y = Conv(a, w2)", TWO_LAYERS)
    tensor = numpy_helper.from_array(TWO_LAYERS["w1"])
    as_constant_nodes(proto, w1=("value", tensor))
    mark = helper.make_attribute("onnxsim_transient_constant", 1)
    proto.graph.node[0].attribute.append(mark)
    assert set(load_onnx(proto).parameters) == {"w1", "w2"}


def sparse(array: Array, name: str) -> onnx.SparseTensorProto:
    where = np.flatnonzero(array)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(array.ravel()[where], name),
        numpy_helper.from_array(where.astype("int64"), f"{name}.indices"),
        list(array.shape),
    )


@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_a_sparse_weight_is_a_dense_parameter(place: str) -> None:
    mostly_zero = TWO_LAYERS["w1"] * (np.abs(TWO_LAYERS["w1"]) > 0.8)
    assert 0 < np.count_nonzero(mostly_zero) < mostly_zero.size
    proto = onnx_model("a = Conv(x, w1) y = Conv(a, w2)", {**TWO_LAYERS, "w1": mostly_zero})
    proto.graph.initializer.remove(proto.graph.initializer[0])
    if place == "initializer":
        proto.graph.sparse_initializer.append(sparse(mostly_zero, "w1"))
    else:
        node = helper.make_node("Constant", [], ["w1"], sparse_value=sparse(mostly_zero, ""))
        proto.graph.node.insert(0, node)
    model = load_onnx(proto)
    np.testing.assert_array_equal(model.parameters["w1"], mostly_zero)


QUANTIZED: Mapping[str, tuple[Array, Array]] = {
    "a_tensor": (np.asarray(0.02, "float32"), np.asarray(3, "int8")),
    "a_channel": (np.linspace(0.01, 0.03, 8, dtype="float32"), np.zeros(8, "int8")),
}


@pytest.mark.parametrize("granularity", QUANTIZED)
def test_a_quantized_weight_becomes_a_float_parameter_of_its_name(granularity: str) -> None:
    scale, zero = QUANTIZED[granularity]
    numbers = np.random.default_rng(0).integers(-100, 100, (8, 3, 1, 1)).astype("int8")
    proto = onnx_model(
        "d = DequantizeLinear <axis=0> (w1, scale, zero) a = Conv(x, d) y = Conv(a, w2)",
        {"w1": numbers, "scale": scale, "zero": zero, "w2": weight(4, 8, 1, 1)},
    )
    model = assert_same_results(proto)
    assert set(model.parameters) == {"w1", "w2"}
    expected = (numbers - zero.reshape(-1, 1, 1, 1)) * scale.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(model.parameters["w1"], expected, rtol=1e-6)
    assert [group.width for group in find_channels(model.module).groups] == [8]


def test_a_quantized_weight_that_is_transposed_afterwards_keeps_its_axes() -> None:
    numbers = np.random.default_rng(0).integers(-100, 100, (5, 64)).astype("int8")
    proto = onnx_model(
        "d = DequantizeLinear(w, scale) t = Transpose <perm=[1,0]> (d) f = Flatten(x) "
        "y = MatMul(f, t)",
        {"w": numbers, "scale": np.asarray(0.02, "float32")},
        inputs="float[1,1,8,8] x",
    )
    assert assert_same_results(proto).parameters["w"].shape == (5, 64)


def test_a_transposed_weight_keeps_its_name_and_axes() -> None:
    proto = onnx_model(
        "f = Flatten(x) t = Transpose <perm=[1,0]> (w) a = MatMul(f, t) y = MatMul(a, v)",
        {"w": weight(6, 192), "v": weight(6, 4)},
    )
    model = assert_same_results(proto)
    np.testing.assert_array_equal(model.parameters["w"], weight(6, 192))
    (group,) = find_channels(model.module).groups
    assert {(entry.parameter, entry.axis) for entry in group.slices} == {("w", 0), ("v", 0)}


def test_a_transposed_weight_that_two_layers_share_becomes_two_parameters() -> None:
    body = """
        t = Transpose <perm=[1,0]> (w) f = Flatten(x) g = Relu(f)
        a = MatMul(f, t) b = MatMul(g, t) c = MatMul(a, v1) d = MatMul(b, v2) y = Add(c, d)
    """
    weights = {"w": weight(6, 192), "v1": weight(6, 4), "v2": weight(6, 4, seed=1)}
    model = assert_same_results(onnx_model(body, weights))
    assert set(model.parameters) == {"w", "w#2", "v1", "v2"}
    assert [group.width for group in find_channels(model.module).groups] == [6, 6]


def test_a_weight_that_is_computed_from_others_keeps_the_name_of_its_source() -> None:
    # As weight normalization is exported: direction, divided by its length, times magnitude.
    body = """
        length = ReduceL2 <axes=[1,2,3], keepdims=1> (w1) unit = Div(w1, length)
        scaled = Mul(unit, magnitude) a = Conv(x, scaled) y = Conv(a, w2)
    """
    magnitude = np.linspace(1, 2, 8, dtype="float32").reshape(8, 1, 1, 1)
    model = assert_same_results(onnx_model(body, {**TWO_LAYERS, "magnitude": magnitude}))
    assert set(model.parameters) == {"w1", "w2"}
    lengths = np.linalg.norm(model.parameters["w1"].reshape(8, -1), axis=1)
    np.testing.assert_allclose(lengths, magnitude.ravel(), rtol=1e-5)


def test_a_table_that_is_gathered_by_constants_becomes_one_parameter() -> None:
    # As relative position biases are exported.
    index = np.random.default_rng(0).integers(0, 12, (8, 8))
    body = "bias = Gather <axis=0> (table, index) a = Conv(x, w1) b = Add(a, bias) y = Conv(b, w2)"
    model = assert_same_results(
        onnx_model(body, {**TWO_LAYERS, "table": weight(12), "index": index})
    )
    assert set(model.parameters) == {"w1", "w2", "bias"}
    np.testing.assert_array_equal(model.parameters["bias"], weight(12)[index])


def test_generated_weights_are_parameters() -> None:
    body = "w1 = ConstantOfShape <value = float[1] {0.5}> (shape) a = Conv(x, w1) y = Conv(a, w2)"
    proto = onnx_model(body, {"shape": np.array([8, 3, 1, 1]), "w2": weight(4, 8, 1, 1)})
    model = assert_same_results(proto)
    assert set(model.parameters) == {"w1", "w2"}
    assert (model.parameters["w1"] == 0.5).all()


def test_the_scales_of_a_resize_are_part_of_the_program() -> None:
    body = (
        'a = Conv(x, w1) b = Resize <mode="nearest", coordinate_transformation_mode="asymmetric", '
        'nearest_mode="floor"> (a, , scales) y = Conv(b, w2)'
    )
    proto = onnx_model(body, {**TWO_LAYERS, "scales": np.array([1, 1, 2, 2], "float32")})
    model = assert_same_results(proto)
    assert set(model.parameters) == {"w1", "w2"}


def tied() -> onnx.ModelProto:
    body = "a = Conv(x, w, b) c = Relu(a) d = Conv(c, w, b) e = Conv(d, v) y = Add(e, e)"
    return onnx_model(body, {"w": weight(3, 3, 1, 1), "b": weight(3), "v": weight(4, 3, 1, 1)})


def test_a_tied_weight_becomes_one_parameter_per_use() -> None:
    model = assert_same_results(tied())
    assert set(model.parameters) == {"w", "w#2", "b", "b#2", "v"}


def test_a_tied_weight_stays_one_parameter_when_asked_for() -> None:
    model = assert_same_results(tied(), keep_tied=True)
    assert set(model.parameters) == {"w", "b", "v"}


def test_the_name_of_a_clone_is_free() -> None:
    weights = {"w": weight(3, 3, 1, 1), "v": weight(4, 3, 1, 1)}
    proto = onnx_model("a = Conv(x, w) b = Conv(a, w) y = Conv(b, v)", weights)
    proto.graph.node[2].input[1] = proto.graph.initializer[1].name = "w#2"
    model = assert_same_results(proto)
    assert len(model.parameters) == 3
    np.testing.assert_array_equal(model.parameters["w#2"], weights["v"])


@pytest.mark.parametrize("name", ["onnx::Conv_12", "a/b:0", "layer.0.weight", "0"])
def test_a_parameter_keeps_any_name(name: str) -> None:
    proto = onnx_model("a = Conv(x, w1) y = Conv(a, w2)", TWO_LAYERS)
    proto.graph.node[0].input[1] = name
    proto.graph.initializer[0].name = name
    assert set(assert_same_results(proto).parameters) == {name, "w2"}


def test_weights_in_another_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    proto = onnx_model("a = Conv(x, w1) y = Conv(a, w2)", TWO_LAYERS)
    onnx.save_model(
        proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    model = load_onnx(path)
    assert model.name == "model"
    for name, value in TWO_LAYERS.items():
        np.testing.assert_array_equal(model.parameters[name], value)


def test_weights_in_half_precision_stay_so() -> None:
    proto = onnx_model(
        "a = Conv(x, w1) b = Relu(a) y = Conv(b, w2)",
        {name: value.astype("float16") for name, value in TWO_LAYERS.items()},
        inputs="float16[1,3,8,8] x",
        check=False,
    )
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    model = assert_same_results(proto, tolerance=2e-2)
    assert {str(value.dtype) for value in model.parameters.values()} == {"float16"}
    assert model.inputs[0].dtype == "float16"
    assert [group.width for group in find_channels(model.module).groups] == [8]
