"""LAMP: a unit's squared magnitude over that of all units of its group that are no smaller.

Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021, for units in place of
single weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.context import Context
from tvm_prune.importance.magnitude import magnitude


def lamp(context: Context) -> list[NDArray[np.float64]]:
    """LAMP score of every unit, at most 1, one array of shape (width,) a group."""
    return [
        _lamp(magnitude(group, context.parameters, 2) ** 2) for group in context.channels.groups
    ]


def _lamp(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(energy, kind="stable")
    no_smaller = np.cumsum(energy[order][::-1])[::-1]
    score = np.zeros_like(energy)
    score[order] = energy[order] / np.where(no_smaller > 0, no_smaller, 1.0)
    return score
