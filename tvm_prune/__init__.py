"""Hardware-aware channel pruning for Apache TVM.

    import tvm_prune

    model = tvm_prune.load("model.onnx")
    result = tvm_prune.prune(model, board="host", latency="8ms", calibration=data)
    result.save("out/")

Importing the package registers the Relax pipeline ``tvm_prune`` and the package's errors with TVM,
and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tvm_prune.pipeline import register_with_tvm

if TYPE_CHECKING:
    from tvm_prune import transform
    from tvm_prune.frontend import load
    from tvm_prune.importance import CRITERIA
    from tvm_prune.pareto import sweep
    from tvm_prune.plan import PruningPlan
    from tvm_prune.result import PruneResult
    from tvm_prune.settings import Settings
    from tvm_prune.sweep_result import SweepResult
    from tvm_prune.workflow import prune

__version__ = "0.1.0"

__all__ = [
    "CRITERIA",
    "PruneResult",
    "PruningPlan",
    "Settings",
    "SweepResult",
    "load",
    "prune",
    "prune_depth",
    "rebuild",
    "sparsify",
    "sweep",
    "transform",
]

_PACKAGES = ("torch", "transform")
"""Subpackages; `torch` is not in ``__all__``, where it would shadow torch itself."""

_HOMES = {
    "CRITERIA": "tvm_prune.importance",
    "PruneResult": "tvm_prune.result",
    "PruningPlan": "tvm_prune.plan",
    "Settings": "tvm_prune.settings",
    "load": "tvm_prune.frontend",
    "prune": "tvm_prune.workflow",
    "prune_depth": "tvm_prune.depth",
    "rebuild": "tvm_prune.retraining",
    "SweepResult": "tvm_prune.sweep_result",
    "sparsify": "tvm_prune.sparsifying",
    "sweep": "tvm_prune.pareto",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: measuring workers need none of them."""
    if name in _PACKAGES:
        return importlib.import_module(f"tvm_prune.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tvm_prune' has no attribute '{name}'")


register_with_tvm()
