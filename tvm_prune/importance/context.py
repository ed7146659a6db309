"""What an importance criterion may look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tvm_prune.activations import Graph, Layer, Walk
from tvm_prune.channels import ChannelGroup, Channels
from tvm_prune.errors import ExportError, PruneError
from tvm_prune.importance.consumers import Consumer, find_consumers
from tvm_prune.model import Array, Model, split_batches
from tvm_prune.to_onnx import to_onnx

LABEL = "label"


@dataclass(frozen=True)
class Context:
    """Inputs of a criterion.

    Attributes:
        channels: groups and units of the model.
        parameters: dense parameters by name.
        seed: seed of anything random.
        model: the dense model, for criteria that look at what it computes.
        data: samples stacked along the first axis, by input name, with classes as ``label`` or
            without.
    """

    channels: Channels
    parameters: Mapping[str, NDArray[Any]]
    seed: int = 0
    model: Model | None = None
    data: Mapping[str, Array] | None = None

    @property
    def required_model(self) -> Model:
        """The model.

        Raises:
            PruneError: if the criterion was not given it.
        """
        if self.model is None:
            raise PruneError("This importance criterion needs the model, not its weights alone.")
        return self.model

    @cached_property
    def onnx(self) -> onnx.ModelProto:
        """The model as ONNX.

        Raises:
            PruneError: if it has no ONNX form, or the criterion was not given the model.
        """
        try:
            return to_onnx(self.required_model)
        except ExportError as error:
            raise PruneError(
                f"This importance criterion looks at what the model computes, but {error} "
                "Choose one that looks at weights alone: l1, l2, bn_scale, fpgm, lamp."
            ) from error

    def batches(self) -> list[dict[str, Array]]:
        """The samples in batches of the model's own size.

        Raises:
            PruneError: if there are none.
        """
        if self.model is None or self.data is None:
            raise PruneError(
                "This importance criterion needs calibration samples; give some, or choose one "
                "that looks at weights alone: l1, l2, bn_scale, fpgm, lamp."
            )
        return split_batches(self.model.inputs, self.data)

    @cached_property
    def consumers(self) -> list[list[Consumer]]:
        """Layers that read each group; none for a group that is read in other ways alone."""
        return find_consumers(self.channels, self.onnx, self.parameters)

    def inputs_of(self, consumers: list[list[Consumer]]) -> Iterator[Mapping[str, Array]]:
        """What the layers that read the groups are given, batch after batch."""
        names = sorted({entry.layer.data for group in consumers for entry in group})
        yield from Walk(Graph(self.onnx), self.batches()).stream(names, {})


def channels_last(layer: Layer, data: Array) -> Array:
    """Input of a layer as (positions, channels)."""
    rows = np.moveaxis(data, 1, -1) if layer.is_convolution else data
    return rows.reshape(-1, rows.shape[-1])


def unit_sums(consumer: Consumer, values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Values of a layer's input channels, added up over the positions of each unit: (width,)."""
    total = np.zeros(width)
    np.add.at(total, consumer.units, values[consumer.positions])
    return total


def unit_weights(group: ChannelGroup, parameters: Mapping[str, Array]) -> NDArray[np.float64]:
    """Everything each unit takes out of the model's weight tensors: (width, weights).

    One-dimensional parameters are left out: biases and normalisation scales have another meaning of
    size.
    """
    parts = []
    for entry in group.slices:
        value = parameters[entry.parameter]
        if value.ndim >= 2:
            rows = np.moveaxis(value, entry.axis, 0)[entry.positions]
            order = np.argsort(entry.units, kind="stable")
            parts.append(rows[order].reshape(group.width, -1).astype(np.float64))
    return np.concatenate(parts, axis=1) if parts else np.zeros((group.width, 0))
