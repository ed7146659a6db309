"""Numbers that are affine functions of the widths of a few groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Affine:
    """Extents as affine functions of group widths.

    Attributes:
        base: value of each extent at the dense widths, shape (extents,).
        slope: change of each extent per unit of each group, shape (extents, groups).
        dense: dense widths, shape (groups,).
    """

    base: NDArray[np.float64]
    slope: NDArray[np.float64]
    dense: NDArray[np.float64]

    def at(self, widths: NDArray[np.float64]) -> NDArray[np.int64]:
        """Extents at many widths: (n, groups) -> (n, extents)."""
        values = self.base + (widths - self.dense) @ self.slope.T
        return np.rint(values).astype(np.int64)


def fit_affine(
    base: Sequence[int],
    probes: Sequence[Sequence[int]],
    steps: Sequence[int],
    dense: NDArray[np.float64],
) -> Affine:
    """Affine functions through the dense extents and one probe a group.

    Args:
        base: the numbers at the dense widths.
        probes: for each group, the numbers where it alone is narrower; a probe with another count
            of numbers tells nothing about its group.
        steps: by how much each group was narrowed.
        dense: dense widths.
    """
    start = np.array(base, dtype=np.float64)
    slope = np.zeros((start.size, len(steps)))
    for column, (probe, step) in enumerate(zip(probes, steps, strict=True)):
        if len(probe) == start.size:
            slope[:, column] = (start - np.array(probe, dtype=np.float64)) / step
    return Affine(start, slope, dense)
