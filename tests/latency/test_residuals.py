"""What kernels cost in models beyond what is predicted is told by models measured whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.latency.residuals import NOTHING_LEFT, Explained, Residuals

GROUPS = ((0,), (0, 1), (1, 2), (2,), ())
"""Groups of each of five kernels in a row."""
OVERHEAD = 2e-5
Widths = tuple[int, int, int]
Share = Callable[[int, tuple[int, ...]], float]

seeds = st.integers(0, 10_000)


def kernel_cost(own: tuple[int, ...]) -> float:
    return 1e-5 + 4e-8 * float(np.prod(own))


def model_at(widths: Widths, share: Share, beyond: float = 0.0) -> Explained:
    """A model whose kernels cost a share more than is predicted, and its overhead another one."""
    own = tuple(tuple(widths[group] for group in groups) for groups in GROUPS)
    kernels = tuple(map(kernel_cost, own))
    true = sum(cost * (1 + share(family, own[family])) for family, cost in enumerate(kernels))
    return Explained(own, kernels, OVERHEAD, true + OVERHEAD * (1 + beyond))


def models_of(count: int, seed: int, share: Share, beyond: float = 0.0) -> list[Explained]:
    generator = np.random.default_rng(seed)
    drawn = generator.integers(8, 65, (count, 3)).tolist()
    return [model_at((a, b, c), share, beyond) for a, b, c in drawn]


def expected(found: Residuals, model: Explained) -> float:
    kernels = sum(
        cost * (1 + found.share(family, np.array([own], dtype=np.int64).reshape(1, -1))[0])
        for family, (own, cost) in enumerate(zip(model.widths, model.kernels, strict=True))
    )
    return float(kernels + model.overhead * (1 + found.common))


def error(found: Residuals, models: Sequence[Explained]) -> float:
    ratios = [expected(found, model) / model.measured for model in models]
    return float(np.sqrt(np.mean((np.array(ratios) - 1) ** 2)))


def in_context(family: int, own: tuple[int, ...]) -> float:
    """The second kernel is slow where its output is narrow; the third one is somewhat fast."""
    if family == 1:
        return 0.3 * float(np.exp(-own[1] / 20))
    return -0.05 if family == 2 else 0.0


def test_before_any_model_was_measured_nothing_is_left() -> None:
    assert NOTHING_LEFT.common == 0.0
    assert NOTHING_LEFT.share(0, np.array([[8], [9]], dtype=np.int64)).tolist() == [0.0, 0.0]


@given(seeds, st.integers(1, 12))
def test_where_models_cost_what_is_predicted_nothing_is_left(seed: int, count: int) -> None:
    found = Residuals.between(models_of(count, seed, lambda *_: 0.0))
    assert found.common == pytest.approx(0.0, abs=1e-9)
    assert error(found, models_of(5, seed + 1, lambda *_: 0.0)) < 1e-9


@given(seeds, st.floats(-0.2, 0.2))
def test_what_all_models_cost_beyond_is_expected_of_others(seed: int, share: float) -> None:
    found = Residuals.between(models_of(12, seed, lambda *_: share, share))
    assert error(found, models_of(5, seed + 1, lambda *_: share, share)) < 0.02


@given(seeds)
def test_the_model_that_was_measured_is_expected_to_cost_about_that(seed: int) -> None:
    models = models_of(10, seed, in_context)
    assert error(Residuals.between(models), models) < 0.013


def test_what_single_kernels_cost_beyond_is_told_by_sums() -> None:
    others = models_of(50, 100, in_context)
    before, few, many = (
        np.mean(
            [error(Residuals.between(models_of(n, seed, in_context)), others) for seed in range(9)]
        )
        for n in (1, 8, 24)
    )
    assert many < few < before
    assert many < before / 3


@given(seeds, st.floats(1.6, 4.0))
def test_a_model_that_was_disturbed_is_not_believed(seed: int, slowed: float) -> None:
    models = models_of(20, seed, in_context)
    first = models[0]
    disturbed = Explained(first.widths, first.kernels, first.overhead, slowed * first.measured)
    others = models_of(20, seed + 1, in_context)
    assert error(Residuals.between([disturbed, *models[1:]]), others) < 0.03
