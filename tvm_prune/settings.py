"""How much effort a run spends, and where it keeps what it learns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

MOST_SPARSITY = 0.9
"""Largest share of a group's units that may go where the user does not say."""


def default_cache() -> Path:
    """``$TVM_PRUNE_CACHE``, or ``tvm_prune`` in the user's cache directory."""
    chosen = os.environ.get("TVM_PRUNE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tvm_prune"


@dataclass(frozen=True)
class Settings:
    """Effort of a run.

    Attributes:
        criterion: importance criterion, a name from ``tvm_prune.importance.CRITERIA``.
        threshold: units below this importance go, in the scale of the criterion; None for none.
        relative_threshold: the same, as a share of the most important unit of each group, 0..1.
        objective: ``latency`` for the most accurate model within the budgets, by the sensitivity
            of the network's output where it can be measured; ``sensitivity`` and ``importance``
            for the same by the one or the other; ``accuracy`` for the fastest model within
            `max_accuracy_drop`.
        max_accuracy_drop: largest drop of the accuracy on the evaluation data, 0..1.
        steps: how many times the model is pruned, and scored again, on the way to the budgets.
        schedule: how the budgets tighten over the steps: ``polynomial``, most at first, or
            ``linear``.
        keep: parameters or layers that lose nothing, by name or glob.
        max_sparsity: largest share of a group's units that may go, 0..1.
        bounds: lowest and highest width of single groups, by name or glob.
        attention: what attention layers lose: ``dims`` of every head, or whole ``heads``.
        trials: candidates that tuning measures for each dense kernel.
        samples: pruned models whose kernels are measured before the latency model is first fitted.
        seed: seed of everything random.
        recover: whether the kept weights are reconstructed from calibration data.
        cache: directory that keeps tuned schedules and measurements over runs.
        executor: where kernels are built, ``dask://HOST:PORT``; this machine by default.
        tracker: ``HOST:PORT`` of the tracker that knows the board's servers, where it is not the
            one of the board file or of the environment.
        clock: what the board measures in, where it has several clocks; the board file's by default.
    """

    criterion: str = "reconstruction"
    threshold: float | None = None
    relative_threshold: float | None = None
    objective: Literal["latency", "sensitivity", "importance", "accuracy"] = "latency"
    max_accuracy_drop: float | None = None
    steps: int = 1
    schedule: Literal["polynomial", "linear"] = "polynomial"
    keep: tuple[str, ...] = ()
    max_sparsity: float = MOST_SPARSITY
    bounds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    attention: Literal["dims", "heads"] = "dims"
    trials: int = 64
    samples: int = 24
    seed: int = 0
    recover: bool = True
    cache: Path = field(default_factory=default_cache)
    executor: str | None = None
    tracker: str | None = None
    clock: str | None = None

    @property
    def measures_sensitivity(self) -> bool:
        """Whether the planner goes by the sensitivity of the network's output."""
        return self.objective != "importance"

    @property
    def has_threshold(self) -> bool:
        """Whether units go that no budget asks for."""
        return self.threshold is not None or self.relative_threshold is not None
