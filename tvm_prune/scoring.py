"""What the planner goes by: which units matter, and what a narrower group costs in accuracy."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels import Channels, Limits, Scores, find_channels, width_limits
from tvm_prune.errors import ModelError, PruneError
from tvm_prune.importance import Context, Thresholds, normalised, raw_scores
from tvm_prune.model import Model
from tvm_prune.planner import kept_shares
from tvm_prune.progress import Progress, Silent
from tvm_prune.sensitivity import sensitivity_curves
from tvm_prune.settings import Settings

logger = logging.getLogger(__name__)

WITHOUT_DATA = "l2"
"""The criterion where there are no samples, which only happens where nothing is delivered."""


@dataclass(frozen=True)
class Scoring:
    """What is known of the accuracy of a model at other widths.

    Attributes:
        scores: importance of every unit, shape (width,) a group, each group's mean 1.
        limits: lowest and highest width of every group.
        shares: share of each group that is kept at every width, shape (width + 1,), by the
            sensitivity of the network's output; empty where importance decides.
    """

    scores: Scores
    limits: Limits
    shares: Sequence[NDArray[np.float64]] = ()


def prunable_channels(model: Model, settings: Settings) -> Channels:
    """The groups of a model, those that the settings keep aside.

    Raises:
        ModelError: if there are none.
    """
    channels = find_channels(model.module, attention=settings.attention, keep=settings.keep)
    if not channels.groups:
        raise ModelError(
            f"The model '{model.name}' has no channels that can be pruned; "
            "`tvm-prune inspect` shows what freezes them."
        )
    return channels


def score(
    model: Model,
    channels: Channels,
    calibration: Mapping[str, NDArray[Any]] | None,
    settings: Settings,
    progress: Progress | None = None,
) -> Scoring:
    """Score the units of a model, and measure its sensitivity where that is the objective.

    Args:
        model: the model.
        channels: its groups.
        calibration: samples stacked along the first axis, by input name; None where the scores
            will not decide anything that is delivered.
        settings: criterion, thresholds, objective and limits.
        progress: told which group is measured.

    Raises:
        PruneError: if the criterion cannot be told for this model.
    """
    context = Context(channels, model.parameters, settings.seed, model, calibration)
    settings = _possible(context, settings, progress or Silent())
    raw = raw_scores(context, settings.criterion if calibration is not None else WITHOUT_DATA)
    limits = width_limits(channels, settings.max_sparsity, settings.bounds)
    limits = Thresholds(settings.threshold, settings.relative_threshold).limit(raw, limits)
    scores = [normalised(one) for one in raw]
    if calibration is None or not settings.measures_sensitivity:
        return Scoring(scores, limits)
    shares = _shares(context, scores, limits, progress or Silent(), recover=settings.recover)
    return Scoring(scores, limits, shares)


def _possible(context: Context, settings: Settings, progress: Progress) -> Settings:
    """The settings, or what they come down to for a model that only TVM can run.

    A criterion or objective that the user chose is not replaced: it fails with the reason.
    """
    is_default = settings.criterion == Settings.criterion and settings.objective == "latency"
    if context.data is None or not is_default:
        return settings
    try:
        context.onnx  # noqa: B018
    except PruneError as error:
        progress.say(f"units are ranked by the size of their weights: {error}")
        return replace(settings, criterion=WITHOUT_DATA, objective="importance")
    return settings


def _shares(
    context: Context, scores: Scores, limits: Limits, progress: Progress, *, recover: bool
) -> Sequence[NDArray[np.float64]]:
    """Share kept by width: one over one plus the loss, as signal over signal plus noise."""
    with progress.step("judging how sensitive the output is", len(scores)) as step:
        curves = sensitivity_curves(context, scores, limits, step.update, recover=recover)
    return [
        kept_shares(one) if curve is None else 1.0 / (1.0 + curve.loss)
        for one, curve in zip(scores, curves, strict=True)
    ]
