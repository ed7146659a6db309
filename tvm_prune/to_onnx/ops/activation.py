"""Activations of `relax.nn`."""

from __future__ import annotations

from tvm_prune.to_onnx.ops.elementwise import same
from tvm_prune.to_onnx.rule import ConverterTable, OpExport

SELU_ALPHA = 1.6732632423543772
SELU_GAMMA = 1.0507009873554805

NEGLIGIBLE = 15.0
"""Where softplus(x) - x is below float32's resolution of x."""


def gelu_tanh(export: OpExport) -> str:
    """Gelu by its tanh approximation."""
    return export.emit("Gelu", export.input(), approximate="tanh")


def silu(export: OpExport) -> str:
    """Sigmoid and Mul: one op, Swish, only since opset 24, which few runtimes read."""
    value = export.input()
    return export.emit("Mul", value, export.emit("Sigmoid", value))


def leaky_relu(export: OpExport) -> str:
    """LeakyRelu."""
    return export.emit("LeakyRelu", export.input(), alpha=float(export.attrs.alpha))


def selu(export: OpExport) -> str:
    """Selu with the constants of its paper."""
    return export.emit("Selu", export.input(), alpha=SELU_ALPHA, gamma=SELU_GAMMA)


def softplus(export: OpExport) -> str:
    """log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold."""
    value = export.input()
    beta, threshold = float(export.attrs.beta), float(export.attrs.threshold)
    if beta == 1 and threshold >= NEGLIGIBLE:
        return export.emit("Softplus", value)
    factor = export.number(beta)
    scaled = export.emit("Mul", value, factor)
    curve = export.emit("Div", export.emit("Softplus", scaled), factor)
    if threshold >= NEGLIGIBLE:
        return curve
    above = export.emit("Greater", scaled, export.number(threshold))
    return export.emit("Where", above, value, curve)


def prelu(export: OpExport) -> str:
    """PRelu with the slopes along the channel axis."""
    trailing = len(export.shape()) - 1 - export.axis()
    slope = export.input(1)
    if trailing:
        slope = export.reshape(slope, (*export.shape(1), *[1] * trailing))
    return export.emit("PRelu", export.input(), slope)


def softmax(op_type: str) -> ConverterTable:
    """Softmax or its logarithm along one axis."""
    name = "relax.nn.softmax" if op_type == "Softmax" else "relax.nn.log_softmax"
    return {name: lambda export: export.emit(op_type, export.input(), axis=int(export.attrs.axis))}


ACTIVATION: ConverterTable = {
    "relax.nn.relu": same("Relu"),
    "relax.nn.gelu": same("Gelu"),
    "relax.nn.gelu_tanh": gelu_tanh,
    "relax.nn.silu": silu,
    "relax.nn.leakyrelu": leaky_relu,
    "relax.nn.selu": selu,
    "relax.nn.softplus": softplus,
    "relax.nn.prelu": prelu,
    **softmax("Softmax"),
    **softmax("LogSoftmax"),
}
