"""Products of activations, summed over positions in single precision without losing what varies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.model import Array

BLOCK = 1024
"""Positions to gather before they are multiplied: a product of few is all memory traffic."""


def summed_products(left: Array, right: Array) -> NDArray[np.float64]:
    """Products of every column of one array with every column of another, summed over rows.

    Where columns hardly vary about a large mean, single precision would leave nothing of their
    covariance; the means are therefore taken out first and accounted for in double precision.

    Args:
        left: shape (..., rows, a).
        right: shape (..., rows, b).

    Returns:
        Shape (..., a, b).
    """
    rows = left.shape[-2]
    mean, other_mean = (_sum(values) / max(1, rows) for values in (left, right))
    varying, other_varying = left - mean.astype(left.dtype), right - other_mean.astype(right.dtype)
    # The means that are taken out are rounded; what that changes is the product of two roundings.
    products = (varying.swapaxes(-1, -2) @ other_varying).astype(np.float64)
    return np.asarray(products + rows * mean.swapaxes(-1, -2) @ other_mean)


def _sum(values: Array) -> NDArray[np.float64]:
    return np.asarray(values.sum(axis=-2, keepdims=True, dtype=np.float64))
