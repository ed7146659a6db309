"""TFLite models compute what the TFLite runtime computes, under the names of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from support.evaluate import compiled, evaluate
from support.exactness import random_removal
from support.flatbuffers import Array, Flatbuffer
from support.onnx_models import weight

from tvm_prune import load
from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.errors import ModelError
from tvm_prune.frontend.tflite import load_tflite
from tvm_prune.model import Model
from tvm_prune.transform import PruneChannels, mask_parameters, prune_parameters

RELU = schema.ActivationFunctionType.RELU
RELU6 = schema.ActivationFunctionType.RELU6
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
STRIDE = {"strideH": 2, "strideW": 2}
UNIT = {"strideH": 1, "strideW": 1}


def kernel(*shape: int, seed: int = 0) -> Array:
    """A kernel in TFLite's order: output channel, height, width, input channel."""
    return weight(*shape, seed=seed)


def residual_network(tmp_path: Path) -> Path:
    """A convolution, a depthwise one and a 1x1 one around a shortcut, and a classifier."""
    net = Flatbuffer()
    x = net.input("image", (1, 9, 9, 3))
    w, b = net.constant("stem/kernel", kernel(8, 3, 3, 3)), net.constant("stem/bias", weight(8))
    stem = net.operator(
        "CONV_2D", [x, w, b], "stem", (1, 5, 5, 8),
        padding=SAME, fusedActivationFunction=RELU6, **STRIDE,
    )  # fmt: skip
    w = net.constant("depthwise/kernel", kernel(1, 3, 3, 8, seed=1) * 3)
    b = net.constant("depthwise/bias", weight(8, seed=2))
    middle = net.operator(
        "DEPTHWISE_CONV_2D", [stem, w, b], "depthwise", (1, 5, 5, 8),
        padding=SAME, depthMultiplier=1, fusedActivationFunction=RELU, **UNIT,
    )  # fmt: skip
    w = net.constant("pointwise/kernel", kernel(8, 1, 1, 8, seed=3))
    b = net.constant("pointwise/bias", weight(8, seed=4))
    last = net.operator("CONV_2D", [middle, w, b], "pointwise", (1, 5, 5, 8), padding=VALID, **UNIT)
    total = net.operator("ADD", [last, stem], "sum", (1, 5, 5, 8))
    pooled = net.operator(
        "MAX_POOL_2D", [total], "pool", (1, 2, 2, 8),
        padding=VALID, filterHeight=2, filterWidth=2, **STRIDE,
    )  # fmt: skip
    axes = net.constant("axes", np.array([1, 2], "int32"))
    mean = net.operator("MEAN", [pooled, axes], "mean", (1, 8), keepDims=False)
    w, b = net.constant("head/kernel", weight(5, 8)), net.constant("head/bias", weight(5))
    y = net.operator("FULLY_CONNECTED", [mean, w, b], "logits", (1, 5))
    return net.save(tmp_path / "residual.tflite", y)


def runtime_output(path: Path, x: Array) -> Array:
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    result: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return result


def random_input(model: Model) -> Array:
    (spec,) = model.inputs
    return np.random.default_rng(0).standard_normal(spec.shape).astype(spec.dtype)


def assert_same_as_runtime(path: Path, **options: Any) -> Model:
    model = load_tflite(path, **options)
    x = random_input(model)
    expected = runtime_output(path, x)
    (actual,) = evaluate(model.module, x, model.parameters)
    scale = np.abs(expected).max()
    assert scale > 1e-2
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale)
    return model


def test_a_residual_network_computes_what_the_runtime_computes(tmp_path: Path) -> None:
    model = assert_same_as_runtime(residual_network(tmp_path))
    assert model.name == "residual"
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("image", (1, 9, 9, 3))]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("logits", (1, 5))]


def test_weights_are_parameters_under_the_names_of_the_file(tmp_path: Path) -> None:
    model = load_tflite(residual_network(tmp_path))
    layers = ("stem", "depthwise", "pointwise", "head")
    assert set(model.parameters) == {f"{layer}/{part}" for layer in layers for part in KERNEL_BIAS}
    np.testing.assert_array_equal(
        model.parameters["stem/kernel"], kernel(8, 3, 3, 3).transpose(1, 2, 3, 0)
    )
    np.testing.assert_array_equal(model.parameters["head/kernel"], weight(5, 8))


KERNEL_BIAS = ("kernel", "bias")


def test_the_shortcut_and_the_depthwise_convolution_carry_one_group(tmp_path: Path) -> None:
    channels = find_channels(load_tflite(residual_network(tmp_path)).module)
    assert not channels.labelling.barriers
    (group,) = channels.groups
    assert group.width == 8
    axes = {(entry.parameter, entry.axis) for entry in group.slices}
    assert {("stem/kernel", 3), ("depthwise/kernel", 2), ("head/kernel", 1)} <= axes


def test_pruning_is_exact(tmp_path: Path) -> None:
    model = load_tflite(residual_network(tmp_path))
    channels = find_channels(model.module)
    plan = plan_for_units(channels, random_removal(channels), model.parameters)
    runs = compiled({"dense": model.module, "pruned": PruneChannels(plan)(model.module)})
    x = random_input(model)
    (expected,) = runs["dense"](x, mask_parameters(model.parameters, plan))
    (actual,) = runs["pruned"](x, prune_parameters(model.parameters, plan))
    (dense,) = runs["dense"](x, model.parameters)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale)
    assert np.abs(dense - expected).max() > 0.1 * scale


@pytest.mark.parametrize("channels", [1, 4])
def test_a_depthwise_convolution_with_a_multiplier(tmp_path: Path, channels: int) -> None:
    net = Flatbuffer()
    x = net.input("x", (1, 6, 6, channels))
    w = net.constant("w", kernel(1, 3, 3, 2 * channels))
    b = net.constant("b", weight(2 * channels))
    y = net.operator(
        "DEPTHWISE_CONV_2D", [x, w, b], "y", (1, 4, 4, 2 * channels),
        padding=VALID, depthMultiplier=2, **UNIT,
    )  # fmt: skip
    assert_same_as_runtime(net.save(tmp_path / "m.tflite", y))


def test_concatenation_padding_and_parametric_relu(tmp_path: Path) -> None:
    net = Flatbuffer()
    x = net.input("x", (1, 4, 4, 3))
    branches = []
    for index in range(2):
        w, b = (
            net.constant(f"w{index}", kernel(4, 1, 1, 3, seed=index)),
            net.constant(f"b{index}", weight(4, seed=index)),
        )
        a = net.operator("CONV_2D", [x, w, b], f"a{index}", (1, 4, 4, 4), padding=SAME, **UNIT)
        slope = net.constant(f"slope{index}", weight(1, 1, 4, seed=2 + index))
        branches.append(net.operator("PRELU", [a, slope], f"p{index}", (1, 4, 4, 4)))
    joined = net.operator("CONCATENATION", branches, "joined", (1, 4, 4, 8), axis=3)
    width = net.constant("width", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], "int32"))
    padded = net.operator("PAD", [joined, width], "padded", (1, 6, 6, 8))
    w, b = net.constant("last", kernel(2, 3, 3, 8)), net.constant("shift", weight(2))
    y = net.operator("CONV_2D", [padded, w, b], "y", (1, 4, 4, 2), padding=VALID, **UNIT)
    model = assert_same_as_runtime(net.save(tmp_path / "m.tflite", y))
    channels = find_channels(model.module)
    assert not channels.labelling.barriers
    assert [group.width for group in channels.groups] == [4, 4]


def test_weights_stored_in_half_precision_stay_as_they_are(tmp_path: Path) -> None:
    net = Flatbuffer()
    x = net.input("x", (1, 4, 4, 3))
    stored = net.constant("w", kernel(4, 3, 3, 3).astype("float16"))
    w = net.operator("DEQUANTIZE", [stored], "w_dequantize", (4, 3, 3, 3))
    b = net.constant("b", weight(4))
    y = net.operator("CONV_2D", [x, w, b], "y", (1, 2, 2, 4), padding=VALID, **UNIT)
    path = net.save(tmp_path / "m.tflite", y)
    model = load_tflite(path)
    x_value = random_input(model)
    (actual,) = evaluate(model.module, x_value, model.parameters)
    np.testing.assert_allclose(actual, runtime_output(path, x_value), rtol=0, atol=1e-4)
    found = {name: (value.shape, str(value.dtype)) for name, value in model.parameters.items()}
    assert found == {"w": ((4, 3, 3, 3), "float16"), "b": ((4,), "float32")}


def shared_bias(tmp_path: Path) -> Path:
    net = Flatbuffer()
    x, b = net.input("x", (1, 4, 4, 3)), net.constant("b", weight(3))
    for index in range(2):
        w = net.constant(f"w{index}", kernel(3, 1, 1, 3, seed=index))
        x = net.operator("CONV_2D", [x, w, b], f"y{index}", (1, 4, 4, 3), padding=SAME, **UNIT)
    return net.save(tmp_path / "m.tflite", x)


def test_a_shared_weight_becomes_one_parameter_per_use(tmp_path: Path) -> None:
    model = assert_same_as_runtime(shared_bias(tmp_path))
    assert set(model.parameters) == {"w0", "w1", "b", "b#2"}


def test_a_shared_weight_stays_one_parameter_when_asked_for(tmp_path: Path) -> None:
    model = assert_same_as_runtime(shared_bias(tmp_path), keep_tied=True)
    assert set(model.parameters) == {"w0", "w1", "b"}


def test_load_knows_the_suffix(tmp_path: Path) -> None:
    path = residual_network(tmp_path)
    assert set(load(path).parameters) == set(load_tflite(path).parameters)


def message(path: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        load_tflite(path, shapes)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_missing_file(tmp_path: Path) -> None:
    assert "There is no file" in message(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"# Notes", b"\x08\x07\x12\x04onnx" * 20])
def test_a_file_that_is_not_tflite(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    assert "is not a TFLite model" in message(path)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_a_truncated_file(tmp_path: Path, part: float) -> None:
    path = residual_network(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert "TFLite model" in message(path)


def test_a_quantized_model_is_named_with_a_tensor(tmp_path: Path) -> None:
    net = Flatbuffer()
    x = net.input("x", (1, 4, 4, 3), "int8")
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [0.1], [0]
    net.graph.tensors[x].quantization = quantization
    y = net.operator("RELU", [x], "y", (1, 4, 4, 3))
    text = message(net.save(tmp_path / "m.tflite", y))
    assert "is quantized (tensor 'x'" in text
    assert "floating point" in text


def test_an_operator_that_tvm_lacks_is_named(tmp_path: Path) -> None:
    net = Flatbuffer()
    x = net.input("x", (1, 4))
    y = net.operator("SKIP_GRAM", [x], "y", (1, 4))
    assert "SKIP_GRAM" in message(net.save(tmp_path / "m.tflite", y))


def test_another_input_shape(tmp_path: Path) -> None:
    path = residual_network(tmp_path)
    assert load_tflite(path, {"image": (1, 9, 9, 3)}).inputs[0].shape == (1, 9, 9, 3)
    text = message(path, {"image": (4, 9, 9, 3)})
    assert "[1, 9, 9, 3] in the file, not [4, 9, 9, 3]" in text
    assert "no input 'x'" in message(path, {"x": (1, 9, 9, 3)})


def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = residual_network(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "tflite", None)
    assert "pip install 'tvm-prune[tflite]'" in message(path)
