"""Geometric median: a unit close to all others can be replaced by them.

He et al., "Filter Pruning via Geometric Median for Deep Neural Networks Acceleration", 2019. The
distance is taken over everything a unit takes out of the model's weight tensors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from tvm_prune.importance.context import Context, unit_weights


def fpgm(context: Context) -> list[NDArray[np.float64]]:
    """Sum of the distances to all other units, one array of shape (width,) a group."""
    groups = context.channels.groups
    return [
        np.asarray(squareform(pdist(unit_weights(group, context.parameters))).sum(axis=1))
        for group in groups
    ]
