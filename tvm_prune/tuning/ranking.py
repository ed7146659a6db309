"""Which of several schedules of one kernel is probably the fastest, told without measuring.

The same idea as MetaSchedule's cost model, trained once on many kernels of a class of processors
instead of afresh in every search: gradient-boosted trees, with a pairwise ranking objective, on
the features that MetaSchedule extracts from a scheduled program, one row a store (the features are
those of Ansor; Zheng et al., OSDI 2020).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from tvm.s_tir import Schedule

_ARITHMETIC = 16
"""The first columns of a row count arithmetic of each kind, as log2(1 + count)."""

_PARAMETERS = {
    "objective": "rank:pairwise",
    "max_depth": 6,
    "eta": 0.2,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "min_child_weight": 2,
    "num_parallel_tree": 5,
    "nthread": 1,
    "verbosity": 0,
}
_ROUNDS = 120


class Ranker:
    """Orders schedules of one kernel.

    Args:
        booster: from :func:`train_ranker`, or read from a file of seed traces.
    """

    def __init__(self, booster: Any) -> None:
        self.booster = booster

    @cached_property
    def key(self) -> str:
        """Stands for the trained trees."""
        return hashlib.sha256(bytes(self.booster.save_raw("json"))).hexdigest()[:16]

    def order(self, schedules: Sequence[Schedule], context: Any) -> list[int]:
        """Positions of the schedules, the most promising one first; each program once.

        Args:
            schedules: of one kernel, at the same extents.
            context: from :func:`~tvm_prune.tuning.context.tune_context` for their target, of any
                workload.
        """
        if len(schedules) < 2:
            return list(range(len(schedules)))
        rows = program_features(schedules, context)
        _, first = np.unique(rows, axis=0, return_index=True)
        first.sort()
        scores = self.booster.inplace_predict(rows[first], validate_features=False)
        return [int(first[position]) for position in np.argsort(-scores, kind="stable")]


def program_features(schedules: Sequence[Schedule], context: Any) -> NDArray[np.float32]:
    """What MetaSchedule sees of scheduled programs, one row each.

    A program has a row of features for every store in it. The row of the store that computes most
    stands for the kernel itself; the largest value of each column over all stores tells about its
    padding and epilogue.

    Returns:
        Matrix of shape (schedules, 2 * columns of ``PerStoreFeature``).
    """
    from tvm.s_tir.meta_schedule.feature_extractor import PerStoreFeature
    from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate

    candidates = [MeasureCandidate(schedule, []) for schedule in schedules]
    extracted = [rows.numpy() for rows in PerStoreFeature().extract_from(context, candidates)]
    return np.stack([_summary(rows) for rows in extracted]).astype(np.float32)


def train_ranker(
    rows: NDArray[np.float32], costs: NDArray[np.float64], kernels: NDArray[np.int64], seed: int = 0
) -> Any:
    """Train a booster to tell fast from slow schedules of the same kernel.

    Args:
        rows: features, shape (n, columns).
        costs: measured costs, shape (n,).
        kernels: which kernel each row is of, ascending, shape (n,).
        seed: seed of the training.
    """
    _, counts = np.unique(kernels, return_counts=True)
    best = np.repeat(np.minimum.reduceat(costs, np.cumsum(counts) - counts), counts)
    relevance = np.clip(np.rint(31 * best / costs), 0, 31)
    matrix = xgboost.DMatrix(rows, label=relevance, nthread=1)
    matrix.set_group(counts)
    return xgboost.train({**_PARAMETERS, "seed": seed}, matrix, num_boost_round=_ROUNDS)


def _summary(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    work = np.exp2(rows[:, :_ARITHMETIC]).sum(axis=1)
    return np.concatenate([rows[int(np.argmax(work))], rows.max(axis=0)])
