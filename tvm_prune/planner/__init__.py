"""Chooses how many channels every group keeps."""

from __future__ import annotations

from tvm_prune.planner.by_work import ByWork
from tvm_prune.planner.confirm import FINALISTS, plan_and_confirm
from tvm_prune.planner.counts import COUNTS, Ceiling, Count
from tvm_prune.planner.removals import Removal
from tvm_prune.planner.replan import (
    CHALLENGES,
    CLOSE_ENOUGH,
    IMPROVEMENTS,
    ROUNDS,
    Attempt,
    Planned,
    Replanner,
)
from tvm_prune.planner.solve import Problem, Solution, kept_shares, solve
from tvm_prune.planner.widths import candidate_widths

__all__ = [
    "CHALLENGES",
    "CLOSE_ENOUGH",
    "COUNTS",
    "FINALISTS",
    "IMPROVEMENTS",
    "ROUNDS",
    "Attempt",
    "ByWork",
    "Ceiling",
    "Count",
    "Planned",
    "Problem",
    "Removal",
    "Replanner",
    "Solution",
    "candidate_widths",
    "kept_shares",
    "plan_and_confirm",
    "solve",
]
