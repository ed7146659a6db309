"""What every method of predicting kernel costs is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_geometry import Geometry

Costs = NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """A kernel at some widths.

    Attributes:
        model: name of the model it belongs to.
        family: index of its family among the model's.
        widths: widths of the family's own groups.
        calls: how often the model calls it.
        geometry: what it computes.
        identity: equal for two kernels that are the same program.
    """

    model: str
    family: int
    widths: tuple[int, ...]
    calls: int
    geometry: Geometry
    identity: str


Predictor = Callable[[Sequence[Kernel]], Costs]
"""Cost of one call of every kernel, in the unit of the measurements it was fitted to."""

Fit = Callable[[Sequence[Kernel], Costs], Predictor]
"""Fits a method to measured kernels."""


def as_text(widths: Sequence[int]) -> str:
    """Widths on one line of the results."""
    return " ".join(map(str, widths))
