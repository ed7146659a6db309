"""An imported model, compiled, against ONNX Runtime on the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime

from support.evaluate import evaluate
from support.onnx_models import copy_of
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model
from tvm_prune.transform import inference_form


def assert_same_results(proto: onnx.ModelProto, *, tolerance: float = 1e-4, **load: Any) -> Model:
    """Load a model of one input, compile it, and compare every output with ONNX Runtime's.

    Args:
        proto: the model, which stays as it is.
        tolerance: largest difference relative to the largest value of an output.
        **load: options of `load_onnx`.
    """
    model = load_onnx(copy_of(proto), **load)
    (spec,) = model.inputs
    x = np.random.default_rng(0).standard_normal(spec.shape).astype(spec.dtype)
    options = onnxruntime.SessionOptions()
    # Optimized, it takes (mean - x) / deviation for a layer norm.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {spec.name: x})
    actual = evaluate(model.module, x, model.parameters)
    assert len(actual) == len(expected) == len(model.outputs)
    for got, want, output in zip(actual, expected, model.outputs, strict=True):
        assert got.shape == output.shape
        scale = np.abs(want).max()
        assert scale > 1e-4
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)
    return model


def assert_inference_form_computes_the_same(proto: onnx.ModelProto) -> None:
    """Compile the inference form of a model of one input and output; compare with ONNX Runtime."""
    model = load_onnx(copy_of(proto))
    (spec,) = model.inputs
    x = np.random.default_rng(0).standard_normal(spec.shape).astype(spec.dtype)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    [expected] = session.run(None, {spec.name: x})
    [actual] = evaluate(inference_form(model), x, {})
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
