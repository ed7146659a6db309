"""Fisher information: what the loss changes to second order when a unit's weights become zero.

LeCun et al., "Optimal Brain Damage", 1990, with the diagonal of the Fisher information for the
curvature (Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.context import Context
from tvm_prune.importance.gradients import gradients
from tvm_prune.importance.taylor import add_slice
from tvm_prune.model import Array


def fisher(context: Context) -> list[NDArray[np.float64]]:
    """Expected increase of the loss, one array of shape (width,) a group.

    Raises:
        PruneError: if there are no samples or no gradients.
    """
    squares: dict[str, Array] = {}
    count = 0
    for gradient in gradients(context):
        count += 1
        for name, value in gradient.items():
            squares[name] = squares.get(name, 0.0) + value**2
    scores = []
    for group in context.channels.groups:
        score = np.zeros(group.width)
        for entry in group.slices:
            if entry.parameter in squares:
                weights = context.parameters[entry.parameter]
                add_slice(score, entry, squares[entry.parameter] * weights**2 / (2 * count))
        scores.append(score)
    return scores
