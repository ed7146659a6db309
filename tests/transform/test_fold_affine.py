from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from support.agreement import assert_inference_form_computes_the_same
from support.onnx_models import onnx_model, weight
from tvm import IRModule, relax

from tvm_prune.frontend import load
from tvm_prune.transform import inference_form
from tvm_prune.transform.fold_affine import FoldAffine

SCALE = weight(6, 1, 1, seed=1) + 2
SHIFT = weight(6, 1, 1, seed=2)
NORM = {
    "gamma": np.linspace(0.5, 2, 6, dtype="float32"),
    "beta": weight(6, seed=3),
    "mean": weight(6, seed=4),
    "variance": np.linspace(0.1, 3, 6, dtype="float32"),
}
CONV = {"w": weight(6, 3, 3, 3), "b": weight(6, seed=5)}
BODIES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "bias and batch norm": (
        "c = Conv(x, w, b) y = BatchNormalization(c, gamma, beta, mean, variance)",
        {**CONV, **NORM},
        ["relax.nn.conv2d", "relax.add"],
    ),
    "every operation": (
        "c = Conv(x, w) d = Sub(c, shift) e = Div(d, scale) f = Mul(e, scale) g = Mul(f, scale) "
        "y = Add(g, shift)",
        {"w": CONV["w"], "scale": SCALE, "shift": SHIFT},
        ["relax.nn.conv2d", "relax.add"],
    ),
    "depthwise": (
        "c = Conv <group=3> (x, w, b) y = BatchNormalization(c, gamma, beta, mean, variance)",
        {"w": weight(6, 1, 3, 3), "b": CONV["b"], **NORM},
        ["relax.nn.conv2d", "relax.add"],
    ),
    "dense": (
        "f = Flatten(x) d = Gemm(f, w, b) y = BatchNormalization(d, gamma, beta, mean, variance)",
        {"w": weight(192, 6), "b": CONV["b"], **NORM},
        ["relax.reshape", "relax.matmul", "relax.add"],
    ),
    "a scale that differs over the image": (
        "c = Conv(x, w) d = Mul(c, scale) y = Add(d, shift)",
        {"w": CONV["w"], "scale": weight(6, 6) + 2, "shift": SHIFT},
        ["relax.nn.conv2d", "relax.multiply", "relax.add"],
    ),
    "an activation between": (
        "c = Conv(x, w) r = Relu(c) d = Mul(r, scale) y = Add(d, shift)",
        {"w": CONV["w"], "scale": SCALE, "shift": SHIFT},
        ["relax.nn.conv2d", "relax.nn.relu", "relax.multiply", "relax.add"],
    ),
    "a step that is read twice": (
        "c = Conv(x, w) d = Mul(c, scale) e = Add(d, shift) y = Add(e, d)",
        {"w": CONV["w"], "scale": SCALE, "shift": SHIFT},
        ["relax.nn.conv2d", "relax.add", "relax.add"],
    ),
    "a layer that is read twice": (
        "c = Conv(x, w) d = Mul(c, scale) e = Add(d, shift) y = Add(e, c)",
        {"w": CONV["w"], "scale": SCALE, "shift": SHIFT},
        ["relax.nn.conv2d", "relax.multiply", "relax.add", "relax.add"],
    ),
    "a scale alone": (
        "c = Conv(x, w) y = Div(c, scale)",
        {"w": CONV["w"], "scale": SCALE},
        ["relax.nn.conv2d"],
    ),
    "a batch norm behind no layer": (
        "c = Concat <axis=1> (x, x) y = BatchNormalization(c, gamma, beta, mean, variance)",
        NORM,
        ["relax.concat", "relax.multiply", "relax.add"],
    ),
    "a batch norm that does nothing": (
        "c = Concat <axis=1> (x, x) y = BatchNormalization <epsilon=0.0> (c, one, zero, zero, one)",
        {"one": np.ones(6, "float32"), "zero": np.zeros(6, "float32")},
        ["relax.concat", "relax.multiply", "relax.add"],
    ),
    "a division": (
        "r = Relu(x) y = Div(r, scale)",
        {"scale": SCALE[:3]},
        ["relax.nn.relu", "relax.multiply"],
    ),
    "shifts alone": (
        "r = Relu(x) d = Add(r, shift) e = Sub(d, wide) y = Add(e, shift)",
        {"shift": SHIFT[:3], "wide": weight(8, 8)},
        ["relax.nn.relu", "relax.add"],
    ),
    "a step that widens": (
        "r = Relu(x) d = Mul(r, wide) e = Add(d, wide) f = Add(e, wide) y = Mul(f, wide)",
        {"wide": weight(2, 3, 1, 1)},
        ["relax.nn.relu", "relax.multiply", "relax.multiply", "relax.add"],
    ),
    "more axes": (
        "f = Flatten(x) d = Gemm(f, w, b) e = Mul(d, deep) y = Add(e, deep)",
        {"w": weight(192, 6), "b": CONV["b"], "deep": weight(2, 1, 6)},
        ["relax.reshape", "relax.matmul", "relax.add", "relax.multiply", "relax.add"],
    ),
}


def ops(module: IRModule) -> list[str]:
    return [
        binding.value.op.name
        for block in module["main"].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call)
    ]


@pytest.mark.parametrize(("body", "weights", "expected"), BODIES.values(), ids=BODIES)
def test_no_more_than_what_is_needed_is_left(
    body: str, weights: dict[str, Any], expected: list[str]
) -> None:
    assert ops(inference_form(load(onnx_model(body, weights)))) == expected


@pytest.mark.parametrize(("body", "weights", "expected"), BODIES.values(), ids=BODIES)
def test_folding_changes_nothing_that_is_computed(
    body: str, weights: dict[str, Any], expected: list[str]
) -> None:
    assert_inference_form_computes_the_same(onnx_model(body, weights))


def test_a_module_without_layers_stays_as_it_is() -> None:
    module = load(onnx_model("r = Relu(x) y = Add(r, x)")).bound()
    tvm.ir.assert_structural_equal(FoldAffine()(module), module)
