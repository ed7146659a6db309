"""Sums of products keep what varies, however large the means are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.activations import summed_products


def in_double_precision(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.float64).swapaxes(-1, -2) @ right.astype(np.float64)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(0, 40), st.integers(0, 5), st.integers(1, 5)),
    mean=st.sampled_from([0.0, -3.0, 1e3, 1e6]),
    seed=st.integers(0, 1000),
)
def test_they_are_those_of_double_precision(
    shape: tuple[int, int, int, int], mean: float, seed: int
) -> None:
    groups, rows, a, b = shape
    generator = np.random.default_rng(seed)
    left = (generator.standard_normal((groups, rows, a)) + mean).astype(np.float32)
    right = generator.standard_normal((groups, rows, b)).astype(np.float32)
    found = summed_products(left, right)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, in_double_precision(left, right), rtol=1e-9, atol=1e-3)


@pytest.mark.parametrize("mean", [1.0, 1e2, 1e4])
def test_the_covariance_of_what_hardly_varies_survives(mean: float) -> None:
    generator = np.random.default_rng(0)
    mixed = generator.standard_normal((2000, 4)) @ generator.standard_normal((4, 16))
    values = (mean + 0.1 * mixed).astype(np.float32)
    means = values.mean(axis=0, dtype=np.float64)
    covariance = summed_products(values) / len(values) - np.outer(means, means)
    wanted = np.cov(values.astype(np.float64), rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, wanted, rtol=1e-3, atol=1e-4 * wanted.max())
    assert np.linalg.eigvalsh(covariance).min() > -1e-4 * np.trace(wanted)
