"""Small Relax networks, built by a function that reads like the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import IRModule, relax

Array = NDArray[Any]
IMAGE = (2, 3, 6, 6)


class Layers:
    """Emits layers; every layer makes the parameters it needs, named in order."""

    def __init__(self) -> None:
        self.builder = relax.BlockBuilder()
        self.parameters: list[Any] = []

    def emit(self, expr: Any) -> Any:
        return expr if isinstance(expr, relax.Var) else self.builder.emit(expr)

    def parameter(self, shape: tuple[int, ...], kind: str = "weight") -> Any:
        name = f"{kind}{len(self.parameters)}"
        self.parameters.append(relax.Var(name, relax.TensorType(shape, "float32")))
        return self.parameters[-1]

    def conv(self, x: Any, out: int, kernel: int = 1, groups: int = 1, **attrs: Any) -> Any:
        """Convolution over channel axis 1 of a tensor with one to three spatial axes."""
        x = self.emit(x)
        rank = len(shape_of(x)) - 2
        shape = (out, shape_of(x)[1] // groups, *[kernel] * rank)
        op = (relax.op.nn.conv1d, relax.op.nn.conv2d, relax.op.nn.conv3d)[rank - 1]
        padding = attrs.pop("padding", kernel // 2)
        call = op(x, self.parameter(shape, "conv"), padding=padding, groups=groups, **attrs)
        return self.emit(call)

    def bias(self, x: Any) -> Any:
        x = self.emit(x)
        channels, rank = shape_of(x)[1], len(shape_of(x))
        value = self.parameter((1, channels, *[1] * (rank - 2)), "bias")
        return self.emit(relax.op.add(x, value))

    def block(self, x: Any, out: int, kernel: int = 1, groups: int = 1) -> Any:
        """Convolution, bias and an activation that never dies."""
        return self.emit(bent(self.bias(self.conv(x, out, kernel, groups))))

    def batch_norm(self, x: Any, axis: int = 1) -> Any:
        """Batch norm with all four of its parameters."""
        x = self.emit(x)
        channels = shape_of(x)[axis]
        values = [
            self.parameter((channels,), kind) for kind in ("gamma", "beta", "mean", "variance")
        ]
        normed = self.emit(relax.op.nn.batch_norm(x, *values, axis=axis))
        return self.emit(normed[0])

    def linear(self, x: Any, out: int) -> Any:
        x = self.emit(x)
        return self.emit(relax.op.matmul(x, self.parameter((shape_of(x)[-1], out), "matmul")))

    def head(self, x: Any, out: int = 5) -> Any:
        """Contract the channels of an image: global average pooling and a linear layer."""
        x = self.emit(x)
        axes = list(range(2, len(shape_of(x))))
        return self.linear(relax.op.mean(x, axes) if axes else x, out)


def bent(x: Any) -> Any:
    """A nonlinearity that no input silences."""
    return relax.op.nn.leakyrelu(x, 0.3)


def shape_of(expr: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in expr.ty.shape.values)


Body = Callable[[Layers, Any], Any]


def build(body: Body, input_shape: tuple[int, ...] = IMAGE) -> IRModule:
    """The module whose ``main`` computes `body` of one float32 input."""
    layers = Layers()
    x = relax.Var("x", relax.TensorType(input_shape, "float32"))
    with layers.builder.function("main"):
        with layers.builder.dataflow():
            output = layers.builder.emit_output(body(layers, x))
        layers.builder.emit_func_output(output, [x, *layers.parameters])
    module = layers.builder.get()
    module["main"] = module["main"].with_attr("num_input", 1)
    return module


def random_input(module: IRModule, seed: int = 0) -> Array:
    """Standard normal values for the one input of a module."""
    shape = shape_of(module["main"].params[0])
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def random_parameters(module: IRModule, seed: int = 0) -> dict[str, Array]:
    """Values that keep activations near unit variance through ReLUs."""
    function = module["main"]
    generator = np.random.default_rng(seed)
    return {
        variable.name: _random_values(variable.name, shape_of(variable), generator)
        for variable in function.params[int(function.attrs["num_input"]) :]
    }


def _random_values(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    if len(shape) < 2:
        return generator.uniform(0.5, 1.5, shape).astype("float32")
    fan_in = shape[-2] if name.startswith("matmul") else int(np.prod(shape[1:]))
    if name.startswith("bias"):
        fan_in *= 10
    return (generator.standard_normal(shape) * (2 / fan_in) ** 0.5).astype("float32")
