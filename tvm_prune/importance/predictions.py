"""What a row of outputs says about the classes: logits, or chances where the model ends so."""

from __future__ import annotations

import numpy as np
import scipy.special
from numpy.typing import NDArray

from tvm_prune.model import Array

LEAST = 1e-12
"""Chances below this count as this much."""


def is_prediction(output: Array) -> bool:
    """Whether an output is a row of classes for every sample."""
    return output.ndim == 2 and output.shape[1] > 1


def are_chances(output: Array) -> bool:
    """Whether rows are chances already, as a softmax leaves them."""
    return bool((output >= 0).all() and np.allclose(output.sum(axis=1), 1.0, atol=1e-3))


def log_chances(output: Array) -> NDArray[np.float64]:
    """Logarithm of every class's chance, shape (samples, classes)."""
    rows = output.astype(np.float64)
    if are_chances(output):
        return np.asarray(np.log(np.maximum(rows, LEAST)))
    return np.asarray(scipy.special.log_softmax(rows, axis=1))
