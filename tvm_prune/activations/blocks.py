"""The weight of a layer as matrices, one for each of the layer's groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_prune.model import Array


@dataclass(frozen=True)
class Blocks:
    """The weight of a layer as one matrix for each of its groups.

    Attributes:
        kernel: shape of the weight.
        matrices: shape (groups, inputs, outputs), counted within a group; inputs are the channels,
            each with its positions in the window.
        is_rows_first: whether the weight's first axis is that of the outputs.
    """

    kernel: tuple[int, ...]
    matrices: NDArray[np.float64]
    is_rows_first: bool

    @classmethod
    def of(cls, weight: Array, axes: tuple[int, int], groups: int) -> Blocks:
        """Split a weight.

        Args:
            weight: of a convolution or dense layer.
            axes: its output and input axis.
            groups: of the layer.
        """
        rows_first = axes == (0, 1)
        rows = weight if rows_first else weight.T
        matrices = rows.reshape(groups, len(rows) // groups, -1).swapaxes(1, 2)
        return cls(weight.shape, matrices.astype(np.float64), rows_first)

    def split(self, values: Array) -> Array:
        """Inputs or outputs of all groups, (rows, n), as those of each: (groups, rows, n)."""
        return values.reshape(len(values), len(self.matrices), -1).swapaxes(0, 1)

    def corrected(self, change: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weight in its own shape with a correction added."""
        moved = self.matrices + change if change.size else self.matrices
        rows = moved.swapaxes(1, 2).reshape(-1, self.matrices.shape[1])
        whole = rows.reshape(self.kernel) if self.is_rows_first else rows.T
        return np.ascontiguousarray(whole)
