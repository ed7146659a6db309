"""Products of activations, summed over positions in single precision without losing what varies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.model import Array

BLOCK = 1024
"""Positions to gather before they are multiplied: a product of few is all memory traffic."""


def summed_products(left: Array, right: Array | None = None) -> NDArray[np.float64]:
    """Products of every column of one array with every column of another, summed over rows.

    Where columns hardly vary about a large mean, single precision would leave nothing of their
    covariance; the means are therefore taken out first and accounted for in double precision.

    Args:
        left: shape (..., rows, a).
        right: shape (..., rows, b); the same array if absent, which takes half of the work.

    Returns:
        Shape (..., a, b).
    """
    mean, varying = _centred(left)
    other_mean, other_varying = (mean, varying) if right is None else _centred(right)
    # The means that are taken out are rounded; what that changes is the product of two roundings.
    products = (varying.swapaxes(-1, -2) @ other_varying).astype(np.float64)
    return np.asarray(products + left.shape[-2] * mean.swapaxes(-1, -2) @ other_mean)


def _centred(values: Array) -> tuple[NDArray[np.float64], Array]:
    """The means of the columns, and the columns without them."""
    mean = values.sum(axis=-2, keepdims=True, dtype=np.float64) / max(1, values.shape[-2])
    return mean, values - mean.astype(values.dtype)
