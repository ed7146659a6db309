"""L2 magnitude: Euclidean norm of the weights of a unit (He et al., 2018)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.context import Context
from tvm_prune.importance.magnitude import magnitude


def l2(context: Context) -> list[NDArray[np.float64]]:
    """Euclidean norm of the weights of every unit, one array of shape (width,) a group."""
    return [magnitude(group, context.parameters, 2) for group in context.channels.groups]
