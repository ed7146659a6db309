"""L1 magnitude: sum of the absolute weights of a unit (Li et al., 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.context import Context
from tvm_prune.importance.magnitude import magnitude


def l1(context: Context) -> list[NDArray[np.float64]]:
    """Sum of absolute weights of every unit, one array of shape (width,) a group."""
    return [magnitude(group, context.parameters, 1) for group in context.channels.groups]
