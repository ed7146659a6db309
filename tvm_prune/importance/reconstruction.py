"""Reconstruction error: how badly the channels that stay replace the one that goes.

A layer reads activations with the second moments G (about their mean, which a bias takes over) and
weights W. If one channel goes and the weights of the others are refitted by least squares, the
layer's outputs move by w^2 / inv(G), the saliency of Hassibi and Stork, "Second Order Derivatives
for Network Pruning: Optimal Brain Surgeon", 1993, with the layer's own outputs as the objective (as
in He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017).

Units go one after the other, the cheapest first, and what goes next is judged with the weights
refitted. The score of a unit is what its removal cost, so that scores of all units that are removed
add up to the error they leave. A group that no ungrouped convolution or dense layer reads is
ranked by its L2 magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.consumers import Consumer
from tvm_prune.importance.context import Context
from tvm_prune.importance.input_moments import InputMoments, input_moments
from tvm_prune.importance.magnitude import magnitude
from tvm_prune.model import Array

DAMPING = 1e-3
"""Added to the second moments, as a share of their mean diagonal."""

ONE_BY_ONE = 256
"""Units that are left when all of them are judged again after each removal."""

SHARE = 16
"""One of so many that are left goes at once before that."""


def reconstruction(context: Context) -> list[NDArray[np.float64]]:
    """Error that the removal of every unit leaves, one array of shape (width,) a group."""
    moments = input_moments(context)
    found = []
    for group, consumers in zip(context.channels.groups, context.consumers, strict=True):
        readers = [
            _reader(consumer, group.width, moments[consumer.layer.data], context.parameters)
            for consumer in consumers
        ]
        found.append(_eliminate(readers) if readers else magnitude(group, context.parameters, 2))
    return found


@dataclass
class _Reader:
    """A layer that reads the group, reduced to its units.

    Attributes:
        inverse: inverse of the second moments of the units' activations.
        weights: products of the weights that read the units, summed over outputs and window.
        scale: energy of the layer's outputs.
    """

    inverse: NDArray[np.float64]
    weights: NDArray[np.float64]
    scale: float

    def costs(self) -> NDArray[np.float64]:
        """What the removal of each unit would cost, relative to the energy of the outputs."""
        diagonal = np.diag(self.inverse)
        safe = np.where(diagonal > 0, diagonal, 1.0)
        return np.asarray(np.maximum(np.diag(self.weights), 0.0) / safe / self.scale)

    def part(self, units: NDArray[np.int64]) -> _Reader:
        """What of this depends on some units alone; enough to remove them one by one."""
        index = np.ix_(units, units)
        return _Reader(self.inverse[index].copy(), self.weights[index].copy(), self.scale)

    def drop(self, gone: NDArray[np.int64]) -> None:
        """Take units out for good; the weights of the others are refitted."""
        stays = np.setdiff1d(np.arange(len(self.inverse)), gone)
        across = self.inverse[np.ix_(stays, gone)]
        share = np.linalg.solve(self.inverse[np.ix_(gone, gone)], across.T).T
        self.inverse = self.inverse[np.ix_(stays, stays)] - share @ across.T
        moved = share @ self.weights[np.ix_(gone, stays)]
        own = share @ self.weights[np.ix_(gone, gone)] @ share.T
        self.weights = self.weights[np.ix_(stays, stays)] - moved - moved.T + own

    def remove(self, unit: int) -> None:
        """Take one unit out, leaving zeros; the weights of the others are refitted."""
        pivot = self.inverse[unit, unit]
        share = self.inverse[:, unit] / pivot
        moved = self.weights[unit].copy()
        self.weights -= np.outer(share, moved) + np.outer(moved, share)
        self.weights += np.outer(share, share) * moved[unit]
        self.inverse -= np.outer(share, share) * pivot
        self.inverse[unit] = self.inverse[:, unit] = 0.0
        self.weights[unit] = self.weights[:, unit] = 0.0


def _reader(
    consumer: Consumer, width: int, moments: InputMoments, parameters: Mapping[str, Array]
) -> _Reader:
    columns = consumer.columns(parameters[consumer.layer.weight])
    covariance = moments.covariance()
    covariance *= consumer.together(len(covariance))
    repeats = len(columns) // len(covariance)
    columns = columns.reshape(len(covariance), repeats * columns[0].size)
    flat = np.zeros(len(covariance), dtype=np.int64) - 1
    flat[consumer.positions[::repeats] // repeats] = consumer.units[::repeats]
    own = np.flatnonzero(flat >= 0)
    order = own[np.argsort(flat[own], kind="stable")]
    per_unit = len(order) // width
    products = columns[order] @ columns[order].T
    second = covariance[np.ix_(order, order)]
    if per_unit > 1:  # a unit that the layer reads several times is gone everywhere
        shape = (width, per_unit, width, per_unit)
        products = np.einsum("apbp->ab", products.reshape(shape))
        second = np.einsum("apbp->ab", second.reshape(shape)) / per_unit
    damped = second + (DAMPING * np.trace(second) / width + 1e-12) * np.eye(width)
    scale = float((products * second).sum()) + 1e-12
    return _Reader(np.linalg.inv(damped), products, max(scale, 1e-12))


def _eliminate(readers: list[_Reader]) -> NDArray[np.float64]:
    """Cost of every unit when the cheapest one goes first, then the cheapest of the others.

    Where many are left, the next few of them are chosen one by one among twice as many that are
    cheap now, and leave the others together.
    """
    left = np.arange(len(readers[0].inverse))
    score = np.zeros(len(left))
    floor = 0.0
    while left.size:
        is_small = left.size <= ONE_BY_ONE
        count = left.size if is_small else max(1, left.size // SHARE)
        costs = np.asarray(sum(reader.costs() for reader in readers))
        near = np.argsort(costs, kind="stable")[: left.size if is_small else 2 * count]
        gone, prices = _cheapest([reader.part(near) for reader in readers], count)
        for unit, price in zip(left[near[gone]].tolist(), prices, strict=True):
            floor = max(floor, price)  # keeps the order in which they went
            score[unit] = floor
        left = np.delete(left, near[gone])
        if left.size:
            for reader in readers:
                reader.drop(near[gone])
    return score


def _cheapest(readers: list[_Reader], count: int) -> tuple[list[int], list[float]]:
    """The units that go next, one by one, and what each costs."""
    stays = np.ones(len(readers[0].inverse), dtype=bool)
    gone, prices = [], []
    for _ in range(count):
        costs = np.where(stays, sum(reader.costs() for reader in readers), np.inf)
        unit = int(np.argmin(costs))
        gone.append(unit)
        prices.append(float(costs[unit]))
        stays[unit] = False
        for reader in readers:
            reader.remove(unit)
    return gone, prices
