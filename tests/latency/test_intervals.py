"""Prediction intervals hold what they promise, and are wide where nothing is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_prune.latency.intervals import COVERAGE, calibrate, distances

FAMILIES = 6


def drawn(seed: int, count: int, heavy: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Families, points and residuals; every family has another usual residual."""
    generator = np.random.default_rng(seed)
    families = generator.integers(0, FAMILIES, count)
    points = np.log2(generator.integers(4, 65, (count, 2)).astype(float))
    noise = generator.standard_t(3, count) if heavy else generator.normal(size=count)
    return families, points, noise * 0.02 * (1 + families)


@pytest.mark.parametrize("heavy", [False, True])
def test_intervals_cover_the_stated_share_of_unseen_kernels(heavy: bool) -> None:
    shares = []
    for seed in range(10):
        families, points, residuals = drawn(seed, 300, heavy)
        intervals = calibrate(families, list(points), residuals, np.arange(300) % 5)
        new_families, new_points, new_residuals = drawn(1000 + seed, 300, heavy)
        half = [
            intervals.half_width(int(family), 2.0 ** point[None, :])[0]
            for family, point in zip(new_families, new_points, strict=True)
        ]
        shares.append(float((np.abs(new_residuals) <= half).mean()))
    assert COVERAGE - 0.04 < np.mean(shares) < COVERAGE + 0.05


def test_a_family_that_is_predicted_badly_has_wider_intervals() -> None:
    families, points, residuals = drawn(0, 600, heavy=False)
    intervals = calibrate(families, list(points), residuals, np.arange(600) % 5)
    assert intervals.scale_of(5) > 2 * intervals.scale_of(0)


def test_intervals_widen_away_from_what_was_measured_and_most_where_nothing_was() -> None:
    families, points, residuals = drawn(0, 100, heavy=False)
    points[:, :] = 3.0
    intervals = calibrate(families, list(points), residuals, np.arange(100) % 5)
    near, far = intervals.half_width(0, np.array([[8.0, 8.0], [8.0, 64.0]]))
    assert 0 < near < far
    [unknown] = intervals.half_width(FAMILIES, np.array([[8.0, 8.0]]))
    assert unknown > far


def test_too_few_residuals_promise_nothing() -> None:
    intervals = calibrate(np.zeros(3, int), [np.zeros(1)] * 3, np.full(3, 0.1), np.arange(3))
    assert intervals.half_width(0, np.ones((1, 1)))[0] == math.inf


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=8))
def test_what_is_known_is_no_distance_away(rows: list[tuple[int, int]]) -> None:
    points = np.log2(np.array(rows, dtype=float))
    assert distances(points, points).max() == 0
    apart = distances(points, points[:1])
    assert (apart >= 0).all()
    assert apart[0] == 0
