"""Thresholds: units below them go, whatever the budgets allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels import Limits
from tvm_prune.errors import PruneError


@dataclass(frozen=True)
class Thresholds:
    """What a unit must reach to stay.

    Attributes:
        absolute: in the scale of the importance criterion, or None.
        relative: as a share of the most important unit of the same group, 0..1, or None.
    """

    absolute: float | None = None
    relative: float | None = None

    def __post_init__(self) -> None:
        if self.absolute is not None and not self.absolute >= 0:
            raise PruneError(f"The threshold is {self.absolute}, but it must not be negative.")
        if self.relative is not None and not 0 <= self.relative <= 1:
            raise PruneError(
                f"The relative threshold is {self.relative}, but it must lie between 0 and 1: it "
                "is a share of the most important unit of each group."
            )

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self.absolute is not None or self.relative is not None

    def limit(self, scores: Sequence[NDArray[np.float64]], limits: Limits) -> Limits:
        """Limits whose upper ends leave out the units below a threshold.

        Args:
            scores: importance of every unit in the criterion's own scale.
            limits: lowest and highest width of every group; no group gets below its lowest.
        """
        return tuple(
            (lowest, max(lowest, min(highest, self._above(score))))
            for score, (lowest, highest) in zip(scores, limits, strict=True)
        )

    def _above(self, score: NDArray[np.float64]) -> int:
        bar = max(
            self.absolute if self.absolute is not None else -np.inf,
            self.relative * float(score.max()) if self.relative is not None else -np.inf,
        )
        return int((score >= bar).sum())
