"""What whole models cost, over what their kernels cost one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_CLEARLY = 0.9
"""Cost of a model, over another's, from which on the ratio between them is not all noise."""


@dataclass(frozen=True)
class Correction:
    """From costs that are predicted for whole models to those to expect.

    A kernel that is measured by itself finds its weights in the cache; in a model it may not, and
    how much that matters depends on how wide the model is. Between models that were measured, the
    ratio of measured to predicted cost is interpolated, in logarithms; beyond them it stays.

    Attributes:
        predicted: costs of the measured models, ascending.
        measured: the same, ascending too.
    """

    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @classmethod
    def through(cls, models: Sequence[tuple[float, float]]) -> Correction:
        """Through models by their predicted and measured costs, the dense one first.

        One that is not clearly cheaper than all before it in both tells nothing, and is left out.
        """
        used = [models[0]]
        for predicted, measured in models[1:]:
            if predicted < _CLEARLY * used[-1][0] and measured < _CLEARLY * used[-1][1]:
                used.append((predicted, measured))
        return cls(*zip(*reversed(used), strict=True))

    def expected(self, predicted: float) -> float:
        """Cost to expect of a model for which this is predicted."""
        return _moved(predicted, self.predicted, self.measured)

    def predicted_for(self, expected: float) -> float:
        """What has to be predicted for a model, so that this is to be expected."""
        return _moved(expected, self.measured, self.predicted)


def _moved(cost: float, before: Sequence[float], after: Sequence[float]) -> float:
    ratios = np.log(after) - np.log(before)
    return float(cost * np.exp(np.interp(np.log(cost), np.log(before), ratios)))
