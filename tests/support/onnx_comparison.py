"""Relax models compared with what ONNX Runtime computes of their ONNX form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from tvm import IRModule, relax

from support.evaluate import compiled
from support.networks import random_parameters
from tvm_prune.model import Model, TensorSpec, output_specs, specs_of
from tvm_prune.to_onnx import to_onnx

Array = NDArray[Any]
TOLERANCE = 1e-4
"""Of the largest value of an output."""


def model_of(module: IRModule, parameters: Mapping[str, Array] | None = None) -> Model:
    """A Relax module with random parameters as a model; its outputs are y, y1, ..."""
    function = module["main"]
    inputs = int(function.attrs["num_input"])
    names = tuple(variable.name for variable in function.params[:inputs])
    fields = getattr(function.ret_ty, "fields", [function.ret_ty])
    results = tuple(f"y{index or ''}" for index in range(len(fields)))
    return Model(
        name="net",
        module=module,
        parameters=random_parameters(module) if parameters is None else parameters,
        inputs=specs_of(function, names),
        outputs=output_specs(function, results),
    )


def sample(specs: tuple[TensorSpec, ...], seed: int = 0) -> dict[str, Array]:
    """Standard normal numbers, or small whole ones, for every input."""
    generator = np.random.default_rng(seed)
    return {
        spec.name: (
            generator.standard_normal(spec.shape)
            if "float" in spec.dtype
            else generator.integers(0, 2, spec.shape)
        ).astype(spec.dtype)
        for spec in specs
    }


def checked(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model, once ONNX's checker and its strict shape inference have passed it."""
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run_onnx(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """All outputs, computed by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs: list[Array] = session.run(None, dict(inputs))
    return outputs


def run_relax(model: Model, inputs: Mapping[str, Array]) -> list[Array]:
    """All outputs of the inference form, compiled."""
    module = relax.transform.DecomposeOpsForInference()(model.module)
    (x,) = inputs.values()
    return compiled({"main": module})["main"](x, model.parameters)


def assert_close(actual: list[Array], expected: list[Array]) -> None:
    """Outputs agree in number, shape and dtype, and in value up to the tolerance."""
    assert len(actual) == len(expected)
    for left, right in zip(actual, expected, strict=True):
        assert (left.shape, left.dtype) == (right.shape, right.dtype)
        scale = float(np.abs(right.astype(np.float64)).max(initial=0)) or 1.0
        np.testing.assert_allclose(left, right, rtol=0, atol=TOLERANCE * scale)


def assert_same_in_onnx(model: Model) -> onnx.ModelProto:
    """The ONNX form is valid and computes what the compiled model does."""
    proto = checked(to_onnx(model))
    inputs = sample(model.inputs)
    expected = run_relax(model, inputs)
    assert all(np.isfinite(output).all() for output in expected)
    assert_close(run_onnx(proto, inputs), expected)
    return proto
