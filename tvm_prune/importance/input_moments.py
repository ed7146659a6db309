"""Second moments of what layers read, streamed over calibration data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.consumers import Consumer
from tvm_prune.importance.context import Context, channels_last
from tvm_prune.model import Array

MOST_ROWS = 32_000
"""Positions that the second moments of a layer's input are taken over, about."""


@dataclass
class InputMoments:
    """Sums over positions of a layer's input.

    Attributes:
        rows: number of positions.
        total: sum of every channel, shape (channels,).
        products: sum of the products of channels, shape (channels, channels).
    """

    rows: int
    total: NDArray[np.float64]
    products: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of every channel."""
        return self.total / self.rows

    def covariance(self) -> NDArray[np.float64]:
        """Second moments about the means."""
        mean = self.mean
        return self.products / self.rows - np.outer(mean, mean)


def input_moments(context: Context) -> dict[str, InputMoments]:
    """Second moments of what the consumers read, streamed.

    Where a unit has several positions in an axis (a flattened image), each of them counts as a
    position of the unit.
    """
    readers = {entry.layer.data: entry.layer for group in context.consumers for entry in group}
    generator = np.random.default_rng(context.seed)
    sums: dict[str, InputMoments] = {}
    most = -(-MOST_ROWS // len(context.batches()))
    for batch in context.inputs_of(context.consumers):
        for name, layer in readers.items():
            rows = _compact(channels_last(layer, batch[name]), _repeats(context, name))
            rows = rows[np.sort(generator.permutation(len(rows))[:most])]
            found = sums.setdefault(
                name,
                InputMoments(0, np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)),
            )
            found.rows += len(rows)
            found.total += rows.sum(axis=0, dtype=np.float64)
            found.products += rows.T @ rows
    return sums


def _repeats(context: Context, name: str) -> int:
    """Adjacent positions that each unit has in an axis that a layer reads: 1 but for flattening."""
    readers = [e for group in context.consumers for e in group if e.layer.data == name]
    counts = {_run_length(entry) for entry in readers}
    return counts.pop() if len(counts) == 1 else 1


def _run_length(entry: Consumer) -> int:
    units, count = np.unique(entry.units).size, entry.units.size
    runs = entry.units.reshape(units, -1)
    is_adjacent = (
        entry.layer.groups == 1 and count == entry.extent and bool((runs == runs[:, :1]).all())
    )
    return count // units if is_adjacent else 1


def _compact(rows: Array, repeats: int) -> Array:
    """(positions, channels * repeats) as (positions * repeats, channels)."""
    if repeats == 1:
        return rows
    return rows.reshape(len(rows), -1, repeats).swapaxes(1, 2).reshape(-1, rows.shape[1] // repeats)
