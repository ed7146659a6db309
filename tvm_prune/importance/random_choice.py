"""Random importance: the baseline every criterion has to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.context import Context


def random(context: Context) -> list[NDArray[np.float64]]:
    """Uniform numbers in [0, 1) from the seed, one array of shape (width,) a group."""
    generator = np.random.default_rng(context.seed)
    return [generator.random(group.width) for group in context.channels.groups]
