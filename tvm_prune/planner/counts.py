"""Parameters and multiply-accumulates as functions of the groups' widths.

Every unit of a group takes equally many positions out of an axis, so the extent of every axis is an
affine function of the widths; what a layer holds or computes is a product of such extents. The
counts are exact, whatever the widths.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels import Channels
from tvm_prune.channels.labels import FROZEN
from tvm_prune.model import Model
from tvm_prune.operations import contractions, extent


@dataclass(frozen=True)
class Extent:
    """Extent of an axis at any widths.

    Attributes:
        base: positions that no plan removes.
        slopes: positions of each unit, by index of the group, ascending.
    """

    base: int
    slopes: tuple[tuple[int, int], ...] = ()

    def at(self, widths: Mapping[int, int] | Sequence[int]) -> int:
        """The extent at the given width of every group it depends on."""
        return self.base + sum(slope * widths[group] for group, slope in self.slopes)


@dataclass(frozen=True)
class Product:
    """What one kind of layer holds or computes.

    Attributes:
        coefficient: all that does not depend on widths, multiplied.
        extents: the axes that do.
    """

    coefficient: int
    extents: tuple[Extent, ...]

    @property
    def groups(self) -> tuple[int, ...]:
        """Indices of the groups it depends on, ascending."""
        return tuple(sorted({group for axis in self.extents for group, _ in axis.slopes}))

    def at(self, widths: Mapping[int, int] | Sequence[int]) -> int:
        """The product at the given width of every group it depends on."""
        return self.coefficient * math.prod(axis.at(widths) for axis in self.extents)


@dataclass(frozen=True)
class Count:
    """A number of parameters or operations of the whole model: a sum of products."""

    products: tuple[Product, ...]

    def at(self, widths: Mapping[int, int] | Sequence[int]) -> int:
        """The exact count at the given width of every group."""
        return sum(product.at(widths) for product in self.products)


@dataclass(frozen=True)
class Ceiling:
    """An upper bound on a count.

    Attributes:
        name: what is counted, from ``COUNTS``.
        count: the count at any widths.
        most: the bound.
    """

    name: str
    count: Count
    most: float


def parameter_count(model: Model, channels: Channels) -> Count:
    """Number of scalar weights."""
    axes = _Axes(channels)
    return _sum(
        [axes.extent(labels) for labels in channels.labelling.parameters[name]]
        for name in model.parameters
    )


def multiply_accumulate_count(model: Model, channels: Channels) -> Count:
    """Multiply-accumulates of one call, as :func:`tvm_prune.operations.multiply_accumulates`."""
    axes, values = _Axes(channels), channels.labelling.values

    def extent_of(value: Any, position: int) -> Extent:
        labels: Any = values.get(value)
        return (
            Extent(extent((value, position))) if labels is None else axes.extent(labels[position])
        )

    return _sum(
        [extent_of(*axis) for axis in contraction] for contraction in contractions(model.module)
    )


COUNTS: Mapping[str, Callable[[Model, Channels], Count]] = {
    "parameters": parameter_count,
    "macs": multiply_accumulate_count,
}
"""What can be counted, by name of the budget."""


class _Axes:
    """Reads extents off the labels of an axis."""

    def __init__(self, channels: Channels) -> None:
        self._class_of = channels.class_of
        self._group_of = np.full(int(self._class_of.max()) + 1, -1, dtype=np.int64)
        for group in channels.groups:
            self._group_of[group.units] = group.index
        self._widths = [group.width for group in channels.groups]

    def extent(self, labels: NDArray[np.int64]) -> Extent:
        owner = self._group_of[self._class_of[labels[labels > FROZEN]]]
        positions = np.bincount(owner[owner >= 0], minlength=len(self._widths))
        slopes = tuple(
            (int(group), int(positions[group]) // self._widths[group])
            for group in np.flatnonzero(positions)
        )
        return Extent(int(labels.size - positions.sum()), slopes)


def _sum(layers: Iterable[Sequence[Extent]]) -> Count:
    """The sum of products of extents; layers of the same form are added up."""
    coefficients: Counter[tuple[Extent, ...]] = Counter()
    for layer in layers:
        varying = tuple(axis for axis in layer if axis.slopes)
        coefficients[varying] += math.prod(axis.base for axis in layer if not axis.slopes)
    return Count(tuple(Product(count, extents) for extents, count in coefficients.items()))
