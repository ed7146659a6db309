"""Second moments of what layers read, streamed over calibration data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.activations import BLOCK, summed_products
from tvm_prune.importance.context import Context, channels_last
from tvm_prune.model import Array

MOST_ROWS = 32_000
"""Positions that the second moments of a layer's input are taken over, about."""


class InputMoments:
    """Sums over positions of a layer's input.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        self.rows = 0
        self.total = np.zeros(channels)
        self.products = np.zeros((channels, channels))
        self._waiting: list[Array] = []

    def add(self, rows: Array) -> None:
        """Add positions, shape (positions, channels)."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= BLOCK:
            self.finish()

    def finish(self) -> None:
        """Add up what is still waiting; needed before anything is read."""
        if self._waiting:
            rows = np.concatenate(self._waiting)
            self._waiting = []
            self.rows += len(rows)
            self.total += rows.sum(axis=0, dtype=np.float64)
            self.products += summed_products(rows)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.total)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of every channel, shape (channels,)."""
        return self.total / self.rows

    def covariance(self) -> NDArray[np.float64]:
        """Second moments about the means, shape (channels, channels)."""
        mean = self.mean
        return self.products / self.rows - np.outer(mean, mean)


def input_moments(context: Context) -> dict[str, InputMoments]:
    """Second moments of what the consumers read, streamed, by name of the activation.

    Where a unit has several positions in an axis (a flattened image), each of them counts as a
    position of the unit.
    """
    readers = {entry.layer.data: entry for group in context.consumers for entry in group}
    repeats = {name: _repeats(context, name) for name in readers}
    sums = {n: InputMoments(entry.extent // repeats[n]) for n, entry in readers.items()}
    generator = np.random.default_rng(context.seed)
    most = -(-MOST_ROWS // len(context.batches()))
    for batch in context.inputs_of(context.consumers):
        for name, entry in readers.items():
            rows = _compact(channels_last(entry.layer, batch[name]), repeats[name])
            sums[name].add(rows[np.sort(generator.permutation(len(rows))[:most])])
    for moments in sums.values():
        moments.finish()
    return sums


def _repeats(context: Context, name: str) -> int:
    """Adjacent positions that each unit has in an axis that a layer reads: 1 but for flattening."""
    readers = [e for group in context.consumers for e in group if e.layer.data == name]
    counts = {entry.run_length for entry in readers}
    return counts.pop() if len(counts) == 1 else 1


def _compact(rows: Array, repeats: int) -> Array:
    """(positions, channels * repeats) as (positions * repeats, channels)."""
    if repeats == 1:
        return rows
    return rows.reshape(len(rows), -1, repeats).swapaxes(1, 2).reshape(-1, rows.shape[1] // repeats)
