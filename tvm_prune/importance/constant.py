"""Constant importance: only the number of channels counts, which makes the best plan known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.context import Context


def constant(context: Context) -> list[NDArray[np.float64]]:
    """Ones, one array of shape (width,) a group."""
    return [np.ones(group.width) for group in context.channels.groups]
