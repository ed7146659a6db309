"""What a layer reads and computes at some of its output positions."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tvm_prune.activations.layers import Layer
from tvm_prune.model import Array

Cells: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Sample, row and column of output positions, each of shape (cells,)."""


def choose_cells(layer: Layer, output: Array, most: int, generator: np.random.Generator) -> Cells:
    """Random output positions of a layer, equally many from every sample of a batch.

    Args:
        layer: a convolution or dense layer.
        output: what it computes for a batch.
        most: positions of one sample, at most.
        generator: chooses them.
    """
    height, width = output.shape[2:] if layer.is_convolution else (math.prod(output.shape[1:-1]), 1)
    count = max(1, min(height * width, most))
    chosen = [np.sort(generator.permutation(height * width)[:count]) for _ in output]
    cells = np.concatenate(chosen)
    return np.repeat(np.arange(len(output)), count), cells // width, cells % width


def inputs_at(layer: Layer, data: Array, kernel: tuple[int, ...], cells: Cells) -> Array:
    """What a layer computes some of its outputs from.

    Args:
        layer: a convolution or dense layer.
        data: its input, (n, channels, height, width) or (n, ..., features).
        kernel: shape of its weight.
        cells: output positions.

    Returns:
        (cells, channels * kernel window), the layer's groups one after the other.
    """
    sample, row, column = cells
    if not layer.is_convolution:
        return np.asarray(_rows(data)[sample, row])
    top, left, bottom, right = layer.attributes.get("pads", [0, 0, 0, 0])
    strides = layer.attributes.get("strides", [1, 1])
    dilations = layer.attributes.get("dilations", [1, 1])
    padded = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)))
    spans = [(size - 1) * step + 1 for size, step in zip(kernel[2:], dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
    chosen = windows[sample, :, row * strides[0], column * strides[1]]
    chosen = chosen[:, :, :: dilations[0], :: dilations[1]]
    return chosen.reshape(len(sample), -1)


def outputs_at(layer: Layer, output: Array, cells: Cells) -> Array:
    """Outputs of a layer, or of what follows it, at some positions: (cells, channels)."""
    sample, row, column = cells
    return output[sample, :, row, column] if layer.is_convolution else _rows(output)[sample, row]


def _rows(data: Array) -> Array:
    """(n, ..., features) as (n, rows, features)."""
    return data.reshape(len(data), -1, data.shape[-1])
