"""Typical layers, for which seed traces are tuned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from tvm_prune.tuning import Workload, kernel_calls, lower


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer with its epilogue, batch 1.

    Attributes:
        inputs: input channels, or features.
        outputs: output channels, or features.
        size: height and width of the input image, one number where they are equal; rows of a dense
            layer's input.
        window: height and width of the window, one number where they are equal; 0 for a dense
            layer.
        stride: of the window.
        depthwise: one filter a channel; `outputs` equals `inputs`.
        epilogue: what follows: ``bias``, ``relu``, ``relu6``, ``residual`` or ``residual_relu``.
    """

    inputs: int
    outputs: int
    size: int | tuple[int, int]
    window: int | tuple[int, int] = 3
    stride: int = 1
    depthwise: bool = False
    epilogue: str = "relu"

    @property
    def macs(self) -> float:
        """Multiply-accumulates."""
        inputs = 1 if self.depthwise else self.inputs
        if self.window == 0:
            return float(_pair(self.size)[0] * self.outputs * inputs)
        positions = math.prod(_pair(self.size)) / self.stride**2
        return positions * self.outputs * inputs * math.prod(_pair(self.window))


def _pair(extent: int | tuple[int, int]) -> tuple[int, int]:
    return extent if isinstance(extent, tuple) else (extent, extent)


def _square(*sizes: tuple[int, int, int], **options: Any) -> list[Layer]:
    """Layers of (inputs, outputs, image size)."""
    return [Layer(*size, **options) for size in sizes]


def _depthwise(*sizes: tuple[int, int], **options: Any) -> list[Layer]:
    """Depthwise layers of (channels, image size)."""
    return [Layer(channels, channels, size, depthwise=True, **options) for channels, size in sizes]


LAYERS: Sequence[Layer] = (
    *_square((64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7)),
    *_square((64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7), epilogue="residual_relu"),
    *_square((64, 128, 56), (128, 256, 28), (256, 512, 14), stride=2),
    *_square((16, 16, 32), (32, 32, 28), (64, 64, 14), (96, 96, 7), (24, 24, 32), (48, 48, 16)),
    *_square((32, 64, 28), (64, 96, 14), (16, 32, 32), stride=2),
    *_square((3, 32, 224), (3, 16, 96), stride=2, epilogue="relu6"),
    *_square((3, 64, 224), stride=2, window=7),
    *_square((1, 32, 28), (3, 16, 32)),
    *_square((64, 256, 56), (128, 512, 28), (256, 1024, 14), (512, 2048, 7), window=1,
             epilogue="residual_relu"),
    *_square((256, 64, 56), (512, 128, 28), (1024, 256, 14), (2048, 512, 7), window=1),
    *_square((64, 128, 56), (128, 256, 28), (256, 512, 14), window=1, stride=2, epilogue="bias"),
    *_square((16, 96, 112), (24, 144, 56), (32, 192, 28), (64, 384, 14), (96, 576, 14),
             (160, 960, 7), (320, 1280, 7), window=1, epilogue="relu6"),
    *_square((32, 16, 112), (96, 24, 56), (144, 32, 28), (192, 64, 14), (384, 96, 14),
             (576, 160, 7), window=1, epilogue="bias"),
    *_square((144, 24, 56), (192, 32, 28), (384, 64, 14), (576, 96, 14), (960, 160, 7), window=1,
             epilogue="residual"),
    *_depthwise((32, 112), (144, 56), (192, 28), (384, 14), (960, 7), epilogue="relu6"),
    *_depthwise((96, 112), (144, 56), (192, 28), (576, 14), stride=2, epilogue="relu6"),
    *_depthwise((120, 28), (240, 14), (672, 7), window=5),
    *_square((96, 10, 1), (512, 1000, 1), (1280, 1000, 1), (768, 768, 197), (768, 3072, 197),
             window=0, epilogue="bias"),
    *_square((16, 16, 32), (32, 32, 28), (64, 64, 14), (96, 96, 7), epilogue="residual_relu"),
    *_square((32, 128, 28), (64, 256, 14), (128, 512, 7), window=1, epilogue="residual_relu"),
    *_square((128, 32, 28), (256, 64, 14), (512, 128, 7), window=1),
    *_square((32, 64, 28), (64, 96, 14), window=1, stride=2, epilogue="bias"),
)  # fmt: skip


SMALL_LAYERS: Sequence[Layer] = (
    *_square((3, 16, 32), (16, 16, 32), (32, 32, 16), (64, 64, 8), (1, 16, 28), (16, 16, 28),
             (32, 32, 14), (64, 64, 7)),
    *_square((16, 16, 32), (32, 32, 16), (64, 64, 8), (32, 32, 14), epilogue="residual_relu"),
    *_square((16, 32, 32), (32, 64, 16), (3, 8, 96), (16, 32, 28), stride=2),
    *_square((16, 32, 32), (32, 64, 16), window=1, stride=2, epilogue="bias"),
    *_square((64, 64, 25), (8, 16, 48), (16, 32, 24), (32, 64, 12), (64, 128, 6), (128, 128, 6),
             (128, 256, 3), (256, 256, 3), window=1),
    Layer(1, 64, (49, 10), (10, 4), stride=2),
    *_depthwise((64, 25), (8, 48), (32, 24), (64, 12), (128, 6), (256, 3)),
    *_depthwise((16, 48), (32, 24), (64, 12), (128, 6), stride=2),
    *_square((640, 128, 1), (128, 128, 1), (128, 8, 1), (8, 128, 1), (64, 10, 1), window=0,
             epilogue="bias"),
)  # fmt: skip
"""Layers of networks that fit a microcontroller."""


def workload_of_layer(layer: Layer, target: Any) -> Workload:
    """The fused kernel of a layer."""
    builder = relax.BlockBuilder()
    shape = (
        (_pair(layer.size)[0], layer.inputs)
        if layer.window == 0
        else (1, layer.inputs, *_pair(layer.size))
    )
    data = relax.Var("data", relax.TensorType(shape, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(_layer(builder, layer, data))
        builder.emit_func_output(result)
    [call] = kernel_calls(lower(builder.get(), target))
    return call.workload


def _layer(builder: relax.BlockBuilder, layer: Layer, data: Any) -> Any:
    if layer.window == 0:
        value = builder.emit(relax.op.matmul(data, _ones(layer.inputs, layer.outputs)))
        return builder.emit(relax.op.add(value, _ones(layer.outputs)))
    window = _pair(layer.window)
    value = builder.emit(
        relax.op.nn.conv2d(
            data,
            _ones(layer.outputs, 1 if layer.depthwise else layer.inputs, *window),
            strides=layer.stride,
            padding=tuple(extent // 2 for extent in window),
            groups=layer.inputs if layer.depthwise else 1,
        )
    )
    shape = [int(extent) for extent in value.ty.shape]
    value = builder.emit(relax.op.add(value, _ones(1, layer.outputs, 1, 1)))
    if layer.epilogue.startswith("residual"):
        value = builder.emit(relax.op.add(value, _ones(*shape)))
    if layer.epilogue.endswith("relu"):
        value = builder.emit(relax.op.nn.relu(value))
    if layer.epilogue == "relu6":
        value = builder.emit(relax.op.maximum(value, relax.const(0.0, "float32")))
        value = builder.emit(relax.op.minimum(value, relax.const(6.0, "float32")))
    return value


def _ones(*shape: int) -> Any:
    return relax.const(np.ones(shape, "float32"))
