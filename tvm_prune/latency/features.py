"""What the latency model sees of a kernel: its work, its extents and its transferred schedule."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.latency.families import Family

SLOTS = 8
ARGUMENTS = 5
KNOBS = 4
LANES = 16
_INTERACTION = 1e-3
"""Share of a kernel's work that two groups must change together, to be taken as multiplied."""

FeatureMatrix = NDArray[np.float32]
"""One row a kernel, one column a feature; NaN where a kernel has no such thing."""


def feature_names() -> list[str]:
    """Names of the columns of a feature matrix."""
    slots = [
        f"slot{slot}_{name}"
        for slot in range(SLOTS)
        for name in ("extent", "outer", "middle", "inner", "innermost", "lane_use")
    ]
    arguments = [f"argument{index}_log_elements" for index in range(ARGUMENTS)]
    return [
        "log_work",
        "log_work_share",
        "log_moved",
        "work_per_element",
        "parallel",
        "tile_work",
        *slots,
        *arguments,
        *[f"knob{index}" for index in range(KNOBS)],
        "dense_log_cost_per_work",
    ]


DIRECTIONS = {
    "log_moved": 1,
    "work_per_element": -1,
    "lane_use": -1,
    "log_elements": 1,
}
"""What physics says of cost per work, by the end of a feature's name, all other features equal: it
does not fall where more is moved (1), nor rise where more is computed with each element that is
moved, or where vectors are filled better (-1)."""


def directions() -> str:
    """The directions of all features as xgboost's ``monotone_constraints``; 0 for most."""
    signs = [
        next((sign for end, sign in DIRECTIONS.items() if name.endswith(end)), 0)
        for name in feature_names()
    ]
    return f"({','.join(map(str, signs))})"


def work(family: Family, widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiplications of a tiled kernel, or elements touched by any other, shape (n,)."""
    slots = family.slots.at(widths)
    touched: NDArray[np.float64] = _elements(family, widths).sum(axis=1)
    if slots.shape[1] == 0:
        return touched
    multiplied: NDArray[np.float64] = slots.astype(np.float64).prod(axis=1)
    return np.maximum(multiplied, touched)


def multiplied(family: Family) -> list[tuple[int, int]]:
    """Pairs of a kernel's groups, by position, whose widths' product its work goes by.

    Where it does not, halving two of them at once changes no more than halving each by itself.
    """
    dense = family.arguments.dense
    pairs = list(combinations(range(len(dense)), 2))
    halves = np.where(np.eye(len(dense), dtype=bool), dense // 2, dense)
    both = [np.minimum(halves[left], halves[right]) for left, right in pairs]
    amounts = work(family, np.stack([dense, *halves, *both])) / work(family, dense[None, :])
    alone, together = amounts[1 : 1 + len(dense)], amounts[1 + len(dense) :]
    return [
        (left, right)
        for (left, right), share in zip(pairs, together, strict=True)
        if abs(1.0 - alone[left] - alone[right] + share) > _INTERACTION
    ]


def moved(family: Family, widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bytes of all arguments of a kernel: (n, groups) -> (n,)."""
    sizes = [np.dtype(dtype).itemsize for dtype, _ in family.workload.arguments]
    bytes_moved: NDArray[np.float64] = _elements(family, widths) @ np.array(sizes, dtype=np.float64)
    return bytes_moved


def features(family: Family, widths: NDArray[np.float64], dense_cost: float) -> FeatureMatrix:
    """Features of a family at many widths.

    Args:
        family: the kernel.
        widths: widths of the family's own groups, shape (n, groups).
        dense_cost: measured cost of its dense kernel.

    Returns:
        Matrix of shape (n, features).
    """
    slots = family.slots.at(widths)
    tilings = family.tilings(slots)
    elements = _elements(family, widths)
    amount = work(family, widths)
    dense_work = float(work(family, family.arguments.dense[None, :])[0])
    columns = [
        np.log(amount),
        np.log(amount / dense_work),
        np.log(elements.sum(axis=1)),
        amount / elements.sum(axis=1),
        tilings[:, :, 0].prod(axis=1),
        tilings[:, :, 2:].prod(axis=(1, 2)),
        *_slot_columns(slots, tilings),
        *_padded(list(np.log(elements).T), ARGUMENTS, len(widths)),
        *_padded([np.full(len(widths), knob) for knob in family.knobs], KNOBS, len(widths)),
        np.full(len(widths), np.log(dense_cost / dense_work)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _elements(family: Family, widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number of elements of every argument, shape (n, arguments)."""
    extents = family.arguments.at(widths).astype(np.float64)
    bounds = np.cumsum(family.ranks)[:-1]
    return np.stack([part.prod(axis=1) for part in np.split(extents, bounds, axis=1)], axis=1)


def _slot_columns(
    slots: NDArray[np.int64], tilings: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    columns: list[NDArray[np.float64]] = []
    for slot in range(SLOTS):
        if slot >= slots.shape[1]:
            columns += [np.full(len(slots), np.nan)] * 6
            continue
        inner = tilings[:, slot, 3]
        lane_use = inner / (np.ceil(inner / LANES) * LANES)
        sizes = np.column_stack([slots[:, slot], tilings[:, slot]]).astype(np.float64)
        columns += [*sizes.T, lane_use]
    return columns


def _padded(columns: list[NDArray[np.float64]], count: int, rows: int) -> list[NDArray[np.float64]]:
    missing = [np.full(rows, np.nan)] * max(0, count - len(columns))
    return columns[:count] + missing
