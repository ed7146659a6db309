"""Magnitude: a unit whose weights are small contributes little (Li et al., 2017; Han et al., 2015).

The norm of a unit is taken over everything it takes out of the model's weight tensors, rows of
the layers that produce it and columns of those that consume it (as Fang et al., 2023, do), leaving
out one-dimensional parameters: biases and normalisation scales have another meaning of size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels import ChannelGroup


def magnitude(
    group: ChannelGroup, parameters: Mapping[str, NDArray[Any]], power: int
) -> NDArray[np.float64]:
    """Root of the summed `power`-th powers of every unit's weights, shape (width,)."""
    score = np.zeros(group.width)
    for entry in group.slices:
        value = parameters[entry.parameter]
        if value.ndim < 2:
            continue
        other_axes = tuple(axis for axis in range(value.ndim) if axis != entry.axis)
        per_position = (np.abs(value.astype(np.float64)) ** power).sum(axis=other_axes)
        np.add.at(score, entry.units, per_position[entry.positions])
    return np.asarray(score ** (1.0 / power))
