"""What the latency model learns from: kernels at chosen widths and their measured costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_prune.latency.families import Family


@dataclass(frozen=True)
class Kernel:
    """A family at some widths.

    Attributes:
        family: index of the family.
        widths: widths of the family's own groups.
    """

    family: int
    widths: tuple[int, ...]

    @property
    def row(self) -> NDArray[np.float64]:
        """The widths as a matrix of one row, shape (1, groups)."""
        return np.array([self.widths], dtype=np.float64).reshape(1, len(self.widths))


@dataclass(frozen=True)
class Sample:
    """A measured kernel.

    Attributes:
        family: index of its family.
        widths: widths of the family's own groups.
        cost: measured median cost.
        spread: relative spread of the measurement.
    """

    family: int
    widths: tuple[int, ...]
    cost: float
    spread: float

    @property
    def kernel(self) -> Kernel:
        """What was measured."""
        return Kernel(self.family, self.widths)


def dense_kernels(families: Sequence[Family]) -> list[Kernel]:
    """The kernel of every family at its dense widths."""
    return [Kernel(index, family.widths) for index, family in enumerate(families)]


def kernels_at(families: Sequence[Family], widths: Sequence[int]) -> list[Kernel]:
    """The kernel of every family at some width of every group of the model."""
    return [
        Kernel(index, tuple(widths[group] for group in family.groups))
        for index, family in enumerate(families)
    ]
