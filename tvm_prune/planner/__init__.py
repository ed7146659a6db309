"""Chooses how many channels every group keeps."""

from __future__ import annotations

from tvm_prune.planner.replan import ROUNDS, Attempt, Replanner
from tvm_prune.planner.solve import Problem, Solution, solve
from tvm_prune.planner.widths import candidate_widths

__all__ = ["ROUNDS", "Attempt", "Problem", "Replanner", "Solution", "candidate_widths", "solve"]
