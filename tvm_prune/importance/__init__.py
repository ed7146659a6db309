"""Importance of every unit: one file and one table row a criterion."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tvm_prune.errors import PruneError
from tvm_prune.importance.constant import constant
from tvm_prune.importance.context import Context
from tvm_prune.importance.l1 import l1
from tvm_prune.importance.l2 import l2
from tvm_prune.importance.random_choice import random

Criterion = Callable[[Context], list[NDArray[np.float64]]]

CRITERIA: Mapping[str, Criterion] = {
    "l1": l1,
    "l2": l2,
    "random": random,
    "constant": constant,
}


def score_units(context: Context, criterion: str) -> list[NDArray[np.float64]]:
    """Importance of every unit, comparable between groups.

    Each group's scores are divided by their mean, so that the raw scale of a layer (its fan-in,
    its position before or after a normalisation) does not decide what is removed.

    Raises:
        PruneError: if there is no such criterion.
    """
    if criterion not in CRITERIA:
        close = difflib.get_close_matches(criterion, CRITERIA, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise PruneError(
            f"There is no importance criterion '{criterion}'; known: {', '.join(CRITERIA)}.{hint}"
        )
    return [_normalised(score) for score in CRITERIA[criterion](context)]


def _normalised(score: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = float(score.mean()) if score.size else 0.0
    return score / mean if mean > 0 else np.ones_like(score)


__all__ = ["CRITERIA", "Context", "Criterion", "score_units"]
