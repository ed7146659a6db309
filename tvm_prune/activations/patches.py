"""What a layer reads and computes at some of its output positions."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tvm_prune.activations.layers import Layer
from tvm_prune.model import Array

Cells: TypeAlias = tuple[NDArray[np.int64], ...]
"""Sample and position in the image, an axis each, of output positions: arrays of shape (cells,)."""

_ROWS = 16_000
_ROWS_PER_INPUT = 8


def rows_for(inputs: int) -> int:
    """Output positions to fit a layer to, about.

    Args:
        inputs: that each of its outputs is computed from.
    """
    return max(_ROWS, _ROWS_PER_INPUT * inputs)


def choose_cells(
    layer: Layer, shape: tuple[int, ...], most: int, generator: np.random.Generator
) -> Cells:
    """Random output positions of a layer, equally many from every sample of a batch.

    Args:
        layer: a convolution or dense layer.
        shape: of what it computes for a batch.
        most: positions of one sample, at most.
        generator: chooses them.
    """
    extents = shape[2:] if layer.is_convolution else (math.prod(shape[1:-1]),)
    positions = math.prod(extents)
    count = max(1, min(positions, most))
    chosen = [np.sort(generator.permutation(positions)[:count]) for _ in range(shape[0])]
    cells = np.unravel_index(np.concatenate(chosen), extents)
    return (np.repeat(np.arange(shape[0]), count), *cells)


def inputs_at(layer: Layer, data: Array, kernel: tuple[int, ...], cells: Cells) -> Array:
    """What a layer computes some of its outputs from.

    Args:
        layer: a convolution or dense layer.
        data: its input, (n, channels, *image) or (n, ..., features).
        kernel: shape of its weight.
        cells: output positions.

    Returns:
        (cells, channels * kernel window), the layer's groups one after the other.
    """
    sample, *position = cells
    if not layer.is_convolution:
        return np.asarray(_rows(data)[cells])
    window = kernel[2:]
    axes = len(window)
    pads = layer.attributes.get("pads", [0] * (2 * axes))
    strides = layer.attributes.get("strides", [1] * axes)
    dilations = layer.attributes.get("dilations", [1] * axes)
    around = zip(pads[:axes], pads[axes:], strict=True)
    padded = np.pad(data, ((0, 0), (0, 0), *around))
    spans = [(size - 1) * step + 1 for size, step in zip(window, dilations, strict=True)]
    image = tuple(range(2, padded.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=image)
    corners = [index * stride for index, stride in zip(position, strides, strict=True)]
    of_cells: tuple[Any, ...] = (sample, slice(None), *corners)
    of_window: tuple[Any, ...] = (..., *(slice(None, None, step) for step in dilations))
    return np.asarray(windows[of_cells][of_window].reshape(len(sample), -1))


def outputs_at(layer: Layer, output: Array, cells: Cells) -> Array:
    """Outputs of a layer, or of what follows it, at some positions: (cells, channels)."""
    sample, *position = cells
    if not layer.is_convolution:
        return np.asarray(_rows(output)[cells])
    of_cells: tuple[Any, ...] = (sample, slice(None), *position)
    return np.asarray(output[of_cells])


def _rows(data: Array) -> Array:
    """(n, ..., features) as (n, rows, features)."""
    return data.reshape(len(data), -1, data.shape[-1])
