"""Importance of every unit: one file and one table row a criterion."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tvm_prune.errors import PruneError
from tvm_prune.importance.activity import apoz, mean_activation
from tvm_prune.importance.bn_scale import bn_scale
from tvm_prune.importance.constant import constant
from tvm_prune.importance.consumers import Consumer
from tvm_prune.importance.context import LABEL, Context
from tvm_prune.importance.fisher import fisher
from tvm_prune.importance.fpgm import fpgm
from tvm_prune.importance.input_moments import InputMoments, input_moments
from tvm_prune.importance.l1 import l1
from tvm_prune.importance.l2 import l2
from tvm_prune.importance.lamp import lamp
from tvm_prune.importance.random_choice import random
from tvm_prune.importance.reconstruction import reconstruction
from tvm_prune.importance.taylor import taylor
from tvm_prune.importance.thresholds import Thresholds

Criterion = Callable[[Context], list[NDArray[np.float64]]]

CRITERIA: Mapping[str, Criterion] = {
    "l1": l1,
    "l2": l2,
    "bn_scale": bn_scale,
    "fpgm": fpgm,
    "lamp": lamp,
    "apoz": apoz,
    "mean_activation": mean_activation,
    "taylor": taylor,
    "fisher": fisher,
    "reconstruction": reconstruction,
    "random": random,
    "constant": constant,
}


def score_units(context: Context, criterion: str) -> list[NDArray[np.float64]]:
    """Importance of every unit, comparable between groups.

    Each group's scores are divided by their mean, so that the raw scale of a layer (its fan-in,
    its position before or after a normalisation) does not decide what is removed.

    Raises:
        PruneError: if there is no such criterion, or it cannot be told for this model.
    """
    return [normalised(score) for score in raw_scores(context, criterion)]


def raw_scores(context: Context, criterion: str) -> list[NDArray[np.float64]]:
    """Importance of every unit in the criterion's own scale, which differs between groups.

    Raises:
        PruneError: if there is no such criterion, or it cannot be told for this model.
    """
    if criterion not in CRITERIA:
        close = difflib.get_close_matches(criterion, CRITERIA, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise PruneError(
            f"There is no importance criterion '{criterion}'; known: {', '.join(CRITERIA)}.{hint}"
        )
    return CRITERIA[criterion](context)


def normalised(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Importance divided by its mean; ones where all of it is zero."""
    mean = float(score.mean()) if score.size else 0.0
    return score / mean if mean > 0 else np.ones_like(score)


__all__ = [
    "CRITERIA",
    "LABEL",
    "Consumer",
    "Context",
    "Criterion",
    "InputMoments",
    "Thresholds",
    "input_moments",
    "normalised",
    "raw_scores",
    "score_units",
]
