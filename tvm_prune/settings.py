"""How much effort a run spends, and where it keeps what it learns."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


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
        trials: candidates that tuning measures for each dense kernel.
        samples: pruned models whose kernels are measured before the latency model is first fitted.
        seed: seed of everything random.
        recover: whether the kept weights are reconstructed from calibration data.
        cache: directory that keeps tuned schedules and measurements over runs.
    """

    criterion: str = "l2"
    trials: int = 64
    samples: int = 24
    seed: int = 0
    recover: bool = True
    cache: Path = field(default_factory=default_cache)
