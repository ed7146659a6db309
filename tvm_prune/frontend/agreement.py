"""Does a model still compute what the user's file computes? ONNX Runtime knows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from tvm_prune.errors import ModelError
from tvm_prune.model import Array

logger = logging.getLogger(__name__)

SEED = 0
TOLERANCE = {"float16": 3e-2, "float32": 1e-3, "float64": 1e-3}
"""Largest allowed difference relative to the output's largest value, by its dtype."""
DISTURBANCE = 100
"""Change of every weight, in units of its rounding, whose effect counts as that of rounding."""
REAL = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE})
"""Types of inputs that take any number."""
DIFFERENT_INTEGERS = 0.01
"""Largest allowed share of integers that differ: an argmax may fall the other way by rounding."""


@dataclass(frozen=True)
class Reference:
    """What the user's model computes on random inputs.

    Attributes:
        inputs: the inputs by name.
        outputs: the outputs by name, in order.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @classmethod
    def of(cls, proto: onnx.ModelProto) -> Reference | None:
        """Run a model whose input shapes are fixed; None where ONNX Runtime cannot run it."""
        try:
            inputs = random_inputs(proto)
            return cls(inputs, run(proto, inputs))
        except Exception as error:  # the runtime raises whatever its kernels trip over
            logger.warning(
                "ONNX Runtime cannot run the model as it is in the file, so it is loaded without "
                "comparing results: %s",
                first_line(error),
            )
            return None

    def require(self, proto: onnx.ModelProto, what: str, rounding: Rounding) -> None:
        """Compare another form of the model with the original.

        Args:
            proto: a model with the same inputs and outputs.
            what: what it is, for the message.
            rounding: a form of the model with weights as inputs, and their values. Where outputs
                differ, it tells whether rounding alone can explain that, as it can for a softmax of
                huge numbers.

        Raises:
            ModelError: if it cannot run, or an output differs.
        """
        try:
            outputs = run(proto, {**self.inputs, **rounding.weights})
        except Exception as error:  # see above
            raise ModelError(f"{what} does not run: {first_line(error)}") from error
        for name, expected in self.outputs.items():
            actual = outputs[name]
            if actual.shape != expected.shape:
                raise ModelError(
                    f"{what} computes '{name}' of shape {list(actual.shape)} where the file "
                    f"computes {list(expected.shape)}; please report this model."
                )
            difference, allowed = largest_difference(expected, actual)
            if not (difference <= allowed or difference <= rounding.effect(self, name)):
                raise ModelError(
                    f"{what} computes '{name}' with a relative difference of {difference:.1e} to "
                    f"the file; at most {allowed:.0e} is allowed. Please report this model."
                )


@dataclass(frozen=True)
class Rounding:
    """A form of a model whose weights are inputs, to see what small changes of them do.

    Attributes:
        proto: the form.
        weights: the values of its weights.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, Array]

    def effect(self, reference: Reference, name: str) -> float:
        """Largest difference of an output that rounding may explain."""
        generator = np.random.default_rng(SEED)
        disturbed = {
            key: value
            + value
            * (DISTURBANCE * np.finfo(value.dtype).eps)
            * generator.choice([-1, 1], value.shape).astype(value.dtype)
            for key, value in self.weights.items()
        }
        outputs = run(self.proto, {**reference.inputs, **disturbed})
        return largest_difference(reference.outputs[name], outputs[name])[0]


def largest_difference(expected: Array, actual: Array) -> tuple[float, float]:
    """Difference of two arrays, relative to the scale of the first, and what is allowed.

    Equal infinities, and NaN in the same places, are no difference. For integers it is the share
    of elements that differ.
    """
    allowed = TOLERANCE.get(str(expected.dtype))
    if allowed is None:
        return float(np.mean(expected != actual)) if expected.size else 0.0, DIFFERENT_INTEGERS
    want, got = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        return float("inf"), allowed
    if not finite.any():
        return 0.0, allowed
    scale = float(np.abs(want[finite]).max()) or 1.0
    return float(np.abs(got[finite] - want[finite]).max()) / scale, allowed


def random_inputs(proto: onnx.ModelProto) -> dict[str, Array]:
    """Seeded inputs for a model with fixed input shapes.

    Floats are normally distributed; integers are 0 or 1, so that they are valid indices, flags and
    lengths.
    """
    generator = np.random.default_rng(SEED)
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = {}
    for value in proto.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        shape = tuple(int(dim.dim_value) for dim in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        array: Array = (
            generator.standard_normal(shape)
            if tensor.elem_type in REAL
            else generator.integers(0, 2, shape)
        )
        inputs[value.name] = np.asarray(array, dtype=dtype)
    return inputs


def run(proto: onnx.ModelProto, values: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of a model, by name, run as it is written; values that are no inputs are ignored."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in proto.graph.output]
    given = {value.name: values[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, given), strict=True))


def first_line(error: Exception) -> str:
    """The first line of an exception's message, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
