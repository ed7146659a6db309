"""Which layers read the channels of a group, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from tvm_prune.activations import Layer, find_layers
from tvm_prune.channels import ChannelGroup, Channels
from tvm_prune.channels.labels import FROZEN
from tvm_prune.model import Array


@dataclass(frozen=True)
class Consumer:
    """A layer that reads the channels of a group.

    Attributes:
        layer: a convolution, depthwise ones aside, or a dense layer.
        positions: input channels of the layer that belong to the group, shape (n,).
        units: the unit each of them belongs to, shape (n,).
        extent: number of input channels of the layer.
    """

    layer: Layer
    positions: NDArray[np.int64]
    units: NDArray[np.int64]
    extent: int

    @property
    def run_length(self) -> int:
        """Adjacent channels that each unit has: 1 but where an image was flattened."""
        units, count = np.unique(self.units).size, self.units.size
        runs = self.units.reshape(units, -1)
        is_adjacent = (
            self.layer.groups == 1 and count == self.extent and bool((runs == runs[:, :1]).all())
        )
        return count // units if is_adjacent else 1

    def columns(self, weight: Array) -> NDArray[np.float64]:
        """What the layer does with each of its input channels: (extent, outputs * window)."""
        rows = np.moveaxis(weight, self.layer.axes[0], 0).astype(np.float64)
        groups = self.layer.groups
        if groups == 1:
            axis = 1 if self.layer.axes == (0, 1) else rows.ndim - 1
            return np.moveaxis(rows, axis, 0).reshape(self.extent, -1)
        blocks = rows.reshape(groups, len(rows) // groups, rows.shape[1], -1)
        whole = np.zeros((groups, rows.shape[1], *blocks.shape[:2], blocks.shape[3]))
        index = np.arange(groups)
        whole[index, :, index] = blocks.swapaxes(1, 2)
        return whole.reshape(self.extent, -1)

    def together(self, size: int) -> NDArray[np.bool_]:
        """Which pairs of channels the same outputs are computed from: (size, size)."""
        block = np.arange(size) * self.layer.groups // size
        return np.asarray(block[:, None] == block[None, :])


def find_consumers(
    channels: Channels, model: onnx.ModelProto, parameters: Mapping[str, Array]
) -> list[list[Consumer]]:
    """Layers that read each group; none for a group that is read in other ways alone."""
    layers = {layer.weight: layer for layer in find_layers(model)}
    grouped = _Grouped(channels)
    found = []
    for group in channels.groups:
        own = []
        for entry in group.slices:
            layer = layers.get(entry.parameter)
            if layer is not None and layer.groups == 1 and entry.axis == layer.axes[1]:
                extent = parameters[entry.parameter].shape[entry.axis]
                own.append(Consumer(layer, entry.positions, entry.units, extent))
        wide = (layer for layer in layers.values() if layer.groups > 1)
        found.append(own + list(grouped.consumers(group, wide, parameters)))
    return found


class _Grouped:
    """Finds the readers among grouped convolutions, by the labels of what they read.

    A depthwise convolution reads a channel to pass it on, and is no reader in this sense.
    """

    def __init__(self, channels: Channels) -> None:
        self._class_of = channels.class_of
        self._labels = {
            variable.name: labels
            for variable, labels in channels.labelling.values.items()
            if hasattr(variable, "name")
        }

    def consumers(
        self, group: ChannelGroup, layers: Iterator[Layer], parameters: Mapping[str, Array]
    ) -> Iterator[Consumer]:
        unit_of = {int(label): unit for unit, label in enumerate(group.units)}
        for layer in layers:
            labels = self._labels.get(layer.data)
            extent = parameters[layer.weight].shape[1] * layer.groups
            if parameters[layer.weight].shape[1] == 1 or labels is None:
                continue
            axis = labels[1]
            if not isinstance(axis, np.ndarray) or axis.size != extent:
                continue
            classes = self._class_of[np.maximum(axis, FROZEN)]
            units = np.array([unit_of.get(int(each), -1) for each in classes], dtype=np.int64)
            units[axis <= FROZEN] = -1
            positions = np.flatnonzero(units >= 0)
            if positions.size:
                yield Consumer(layer, positions, units[positions], extent)
