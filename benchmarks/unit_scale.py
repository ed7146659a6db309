"""Random weights whose activations neither vanish nor explode.

Fresh random weights let the signal of a deep network die out: the output is then the last bias, and
any comparison of outputs passes. Here every contraction's weight is scaled until its outputs for
two inputs differ with unit variance.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from tvm_prune.model import Array

CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"})
ROUNDS = 3


def unit_scale_factors(
    proto: onnx.ModelProto, parameters: Mapping[str, Array], inputs: Mapping[str, Array]
) -> dict[str, float]:
    """What to multiply the weights of a model's contractions with, by name.

    Args:
        proto: the model; its initializers carry the parameters' names.
        parameters: values to begin with.
        inputs: one input of each name.
    """
    nodes = _contractions(proto, set(parameters))
    upstream = _upstream(proto, {node.output[0] for node in nodes})
    session = session_with_weights(proto, [node.output[0] for node in nodes])
    values = dict(parameters)
    factors = dict.fromkeys(parameters, 1.0)
    for _ in range(ROUNDS):
        one, another = (
            session.run(None, {name: {**values, **each}[name] for name in _names(session)})
            for each in (inputs, {name: value[..., ::-1] for name, value in inputs.items()})
        )
        size = {
            node.output[0]: float((left - right).std(dtype=np.float64)) or 1.0
            for node, left, right in zip(nodes, one, another, strict=True)
        }
        for node in nodes:
            before = [size[name] for name in upstream[node.output[0]]]
            gain = size[node.output[0]] / (float(np.mean(before)) if before else 1.0)
            weight = _weight(node, set(parameters))
            values[weight] = (values[weight] / gain).astype(values[weight].dtype)
            factors[weight] /= gain
    return factors


def drawn_weights(parameters: Mapping[str, Array]) -> dict[str, Array]:
    """The weights, random ones where files that must be small hold one number only."""
    return {name: _drawn(value, seed) for seed, (name, value) in enumerate(parameters.items())}


def scaled(parameters: Mapping[str, Array], factors: Mapping[str, float]) -> dict[str, Array]:
    """The weights times their factors, in their own types."""
    return {
        name: (value * factors.get(name, 1.0)).astype(value.dtype)
        for name, value in parameters.items()
    }


def _drawn(value: Array, seed: int) -> Array:
    if value.ndim < 2 or value.std() > 1e-6 * np.abs(value).max():
        return value
    fan_in = value.size / len(value)
    fresh = np.random.default_rng(seed).normal(size=value.shape) / np.sqrt(fan_in)
    return np.asarray(fresh, dtype=value.dtype)


def _weight(node: onnx.NodeProto, parameters: set[str]) -> str:
    return next(str(name) for name in node.input if name in parameters)


def _contractions(proto: onnx.ModelProto, parameters: set[str]) -> list[onnx.NodeProto]:
    return [
        node
        for node in proto.graph.node
        if node.op_type in CONTRACTIONS and parameters.intersection(node.input)
    ]


def _upstream(proto: onnx.ModelProto, outputs: set[str]) -> dict[str, set[str]]:
    """The contractions that each contraction reads from, through other nodes."""
    nearest: dict[str, set[str]] = {}
    found = {}
    for node in proto.graph.node:
        read: set[str] = set().union(*(nearest.get(name, set()) for name in node.input))
        for name in node.output:
            nearest[name] = {name} if name in outputs else read
            if name in outputs:
                found[name] = read
    return found


def session_with_weights(proto: onnx.ModelProto, names: list[str]) -> onnxruntime.InferenceSession:
    """A session that takes the weights as inputs and tells the named values.

    Args:
        proto: a model; it is not changed.
        names: tensors of its graph that become the outputs.
    """
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    weights = list(exposed.graph.initializer)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    exposed.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in weights
    )
    del exposed.graph.initializer[:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _names(session: onnxruntime.InferenceSession) -> list[str]:
    return [value.name for value in session.get_inputs()]
