"""The correction of a layer is the one that explains rows that it was not fitted to."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tvm_prune.recover.moments import Moments, best_correction

GROUPS, INPUTS, OUTPUTS = 2, 40, 3
FEW, MANY = 6, 400
Matrix = NDArray[np.float64]


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def weight() -> Matrix:
    return generator().standard_normal((GROUPS, INPUTS, OUTPUTS))


def moments(rows: int, weight: Matrix, slope: Matrix, shift: Matrix, seed: int) -> Moments:
    """Rows of a layer whose outputs should be `slope` times as large, and higher by `shift`."""
    inputs = np.random.default_rng(seed).standard_normal((GROUPS, rows, INPUTS)) + 1.0
    wanted = slope[:, None] * (inputs @ weight) + shift[:, None]
    found = Moments(weight, INPUTS)
    found.add(inputs.astype("float32"), wanted.astype("float32"))
    return found


@pytest.mark.parametrize("has_bias", [True, False])
def test_few_rows_are_enough_to_find_the_scale_of_every_output(weight, has_bias) -> None:
    slope = generator().uniform(0.5, 2.0, (GROUPS, OUTPUTS))
    shift = generator().standard_normal((GROUPS, OUTPUTS)) * has_bias
    fit, held_out = (moments(n, weight, slope, shift, n) for n in (FEW, MANY))
    chosen = best_correction(fit, held_out, has_bias=has_bias)
    np.testing.assert_allclose(chosen.weight, (slope - 1)[:, None] * weight, atol=1e-3)
    np.testing.assert_allclose(chosen.bias, shift, atol=1e-2)


def test_an_output_that_never_varies_keeps_its_weights(weight) -> None:
    weight[:, :, 0] = 0.0
    ones = np.ones((GROUPS, OUTPUTS))
    fit, held_out = (moments(n, weight, ones, 0 * ones, n) for n in (FEW, MANY))
    chosen = best_correction(fit, held_out, has_bias=True)
    assert not chosen.weight.any()
    assert not chosen.bias.any()


def test_where_nothing_helps_on_held_out_rows_nothing_is_corrected(weight) -> None:
    ones = np.ones((GROUPS, OUTPUTS))
    fit = moments(FEW, weight, 1.5 * ones, ones, 0)
    held_out = moments(MANY, weight, 0.5 * ones, -ones, 1)
    chosen = best_correction(fit, held_out, has_bias=True)
    assert not chosen.weight.any()
    assert not chosen.bias.any()
