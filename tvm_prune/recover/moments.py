"""Normal equations of a layer, accumulated batch after batch in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from tvm_prune.activations import BLOCK, summed_products
from tvm_prune.model import Array

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Correction:
    """What is added to a layer's weight and bias.

    Attributes:
        weight: shape (groups, inputs, outputs), counted within a group.
        bias: shape (groups, outputs).
    """

    weight: Matrix
    bias: Matrix


class Moments:
    """Sums over rows of a layer's inputs x and of what its outputs lack, r.

    Everything is counted within the groups of a grouped layer, which are layers of their own.

    Args:
        weight: that of the layer as it is, shape (groups, inputs, outputs), counted within a group
            and the kernel window included.
        most_inputs: where there are more of them, nothing is remembered of x.
    """

    def __init__(self, weight: Matrix, most_inputs: int) -> None:
        groups, inputs, outputs = weight.shape
        inputs = inputs if inputs <= most_inputs else 0
        self.weight = weight
        self._weight = weight.astype(np.float32)
        self.rows = 0
        self.x = np.zeros((groups, inputs))
        self.r = np.zeros((groups, outputs))
        self.xx = np.zeros((groups, inputs, inputs))
        self.xr = np.zeros((groups, inputs, outputs))
        self.rr = 0.0
        self._waiting: list[tuple[Array, Array]] = []

    def add(self, inputs: Array, wanted: Array) -> None:
        """Add rows.

        Args:
            inputs: shape (groups, rows, inputs).
            wanted: what their product with the weight should be, shape (groups, rows, outputs).
        """
        self._waiting.append((inputs, wanted))
        if sum(rows.shape[1] for rows, _ in self._waiting) >= BLOCK:
            self.finish()

    def finish(self) -> None:
        """Add up the rows that are still waiting; needed before anything is read."""
        if not self._waiting:
            return
        inputs, wanted = (np.concatenate(p, axis=1) for p in zip(*self._waiting, strict=True))
        self._waiting = []
        lacking = wanted - inputs @ self._weight
        inputs = inputs[..., : self.x.shape[1]]
        self.rows += inputs.shape[1]
        self.x += inputs.sum(axis=1, dtype=np.float64)
        self.r += lacking.sum(axis=1, dtype=np.float64)
        self.xx += summed_products(inputs)
        self.xr += summed_products(inputs, lacking)
        self.rr += float((lacking.astype(np.float64) ** 2).sum())

    def error(self, correction: Correction) -> float:
        """Mean squared error that a correction leaves, summed over the outputs."""
        weight, bias = correction.weight, correction.bias
        explained = (weight * (self.xx @ weight - 2 * self.xr)).sum()
        of_bias = (bias * (2 * np.einsum("gio,gi->go", weight, self.x) - 2 * self.r)).sum()
        constant = self.rows * (bias**2).sum()
        return float(self.rr + explained + of_bias + constant) / max(1, self.rows)

    def corrections(self, *, has_bias: bool, strengths: tuple[float, ...]) -> Iterator[Correction]:
        """No correction, that of the bias, of every output's scale, and ridge regressions.

        Bias and scale are what a batch norm's mean and variance, estimated anew, would correct;
        they are few numbers, so few samples are enough to find them.

        Args:
            has_bias: whether the layer adds anything that can be corrected.
            strengths: of the ridge regressions.
        """
        nothing = Correction(np.zeros_like(self.xr), np.zeros_like(self.r))
        yield nothing
        if self.rows == 0:
            return
        mean_x = self.x / self.rows if has_bias else np.zeros_like(self.x)
        mean_r = self.r / self.rows if has_bias else np.zeros_like(self.r)

        def with_bias(change: Matrix) -> Correction:
            return Correction(change, mean_r - np.einsum("gio,gi->go", change, mean_x))

        if has_bias:
            yield with_bias(nothing.weight)
        if not self.x.shape[1]:
            return
        gram = self.xx / self.rows - mean_x[:, :, None] * mean_x[:, None, :]
        moment = self.xr / self.rows - mean_x[:, :, None] * mean_r[:, None, :]
        yield with_bias(self.weight * _slopes(gram, moment, self.weight)[:, None, :])
        for strength in strengths:
            try:
                yield with_bias(_ridge(gram, moment, strength))
            except np.linalg.LinAlgError:
                continue  # too few rows for so weak a penalty


def _slopes(gram: Matrix, moment: Matrix, weight: Matrix) -> Matrix:
    """What share of itself every output lacks, by least squares: (groups, outputs)."""
    variance = ((gram @ weight) * weight).sum(axis=1)
    covariance = (moment * weight).sum(axis=1)
    slopes: Matrix = np.zeros_like(variance)
    np.divide(covariance, variance, out=slopes, where=variance > 0)
    return slopes


def _ridge(gram: Matrix, moment: Matrix, strength: float) -> Matrix:
    size = gram.shape[1]
    scale = np.trace(gram, axis1=1, axis2=2) / size + 1e-12
    damped = gram + (strength * scale)[:, None, None] * np.eye(size)
    if len(damped) > 1:
        return np.asarray(np.linalg.solve(damped, moment))
    factor = scipy.linalg.cho_factor(damped[0], check_finite=False)
    return np.asarray(scipy.linalg.cho_solve(factor, moment[0], check_finite=False))[None]


def best_correction(
    fit: Moments,
    held_out: Moments,
    *,
    has_bias: bool,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Correction:
    """The correction with the least error on held-out rows, none at all being one of them."""
    for moments in (fit, held_out):
        moments.finish()
    choices = fit.corrections(has_bias=has_bias, strengths=strengths)
    return min(choices, key=held_out.error)
