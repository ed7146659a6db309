"""The baselines do what the papers say, no worse: a weak baseline would flatter the product."""

from __future__ import annotations

import kernels
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.flops_method import fit_flops, fit_flops_per_kernel
from benchmarks.nn_meter_method import (
    FORESTS,
    fit_nn_meter,
    fit_nn_meter_log,
    nn_meter_features,
)
from benchmarks.predictors import Costs, Kernel

WIDTHS = list(range(8, 72, 8))
CONVOLUTIONS = [kernels.conv(a, b) for a in WIDTHS for b in WIDTHS]
DEPTHWISE = [kernels.depthwise(width) for width in WIDTHS]
EVERY_KIND = [
    kernels.conv(8, 16),
    kernels.depthwise(8),
    kernels.fc(8, 10),
    kernels.maxpool(8),
    kernels.mean(8),
]


def operations(found: list[Kernel]) -> Costs:
    return np.array([float(kernel.geometry.operations) for kernel in found])


@given(
    speeds=st.tuples(st.floats(1e-12, 1e-6), st.floats(1e-12, 1e-6)),
)
def test_flops_are_exact_where_each_operator_has_one_speed(speeds: tuple[float, float]) -> None:
    costs = np.concatenate(
        [speeds[0] * operations(CONVOLUTIONS), speeds[1] * operations(DEPTHWISE)]
    )
    predict = fit_flops(CONVOLUTIONS[::2] + DEPTHWISE[::2], np.concatenate(
        [costs[: len(CONVOLUTIONS)][::2], costs[len(CONVOLUTIONS) :][::2]]
    ))  # fmt: skip
    np.testing.assert_allclose(predict(CONVOLUTIONS + DEPTHWISE), costs, rtol=1e-9)


@given(noise=st.lists(st.floats(-1.0, 1.0), min_size=8, max_size=8))
def test_no_other_coefficient_has_a_lower_squared_error_in_the_logarithm(
    noise: list[float],
) -> None:
    costs = operations(DEPTHWISE) * 1e-9 * np.exp(noise)
    predicted = fit_flops(DEPTHWISE, costs)(DEPTHWISE)

    def error(factor: float) -> float:
        return float((np.log(predicted * factor / costs) ** 2).sum())

    assert error(1.0) <= min(error(0.99), error(1.01))


def test_flops_per_kernel_tell_kernels_of_one_operator_apart() -> None:
    fast, slow = kernels.conv(8, 8, family=0), kernels.conv(8, 8, family=1)
    predict = fit_flops_per_kernel([fast, slow], np.array([1e-6, 5e-6]))
    wider = [kernels.conv(8, 16, family=0), kernels.conv(8, 16, family=1)]
    np.testing.assert_allclose(predict(wider), [2e-6, 1e-5])


def test_nn_meter_sees_of_a_convolution_what_its_paper_lists() -> None:
    assert nn_meter_features(kernels.conv(8, 16, image=28).geometry) == [
        *(28, 8, 16, 3, 2),
        2 * 16 * 14 * 14 * 8 * 9,
        16 * 8 * 9 + 16,
    ]


@pytest.mark.parametrize("kernel", EVERY_KIND, ids=lambda k: k.geometry.structure.operator)
def test_forests_look_at_no_more_features_than_there_are(kernel: Kernel) -> None:
    forest = FORESTS[kernel.geometry.structure.operator]
    assert forest.features <= len(nn_meter_features(kernel.geometry))


def test_every_kind_of_kernel_can_be_learned_and_predicted() -> None:
    costs = np.arange(1.0, 1.0 + len(EVERY_KIND))
    np.testing.assert_allclose(fit_nn_meter(EVERY_KIND, costs)(EVERY_KIND), costs)


def test_each_type_of_fused_kernel_has_a_forest_of_its_own() -> None:
    both = CONVOLUTIONS[:20] + DEPTHWISE
    costs = operations(both)
    others = np.concatenate([costs[:20] * 7, costs[20:]])
    np.testing.assert_array_equal(
        fit_nn_meter(both, costs)(DEPTHWISE), fit_nn_meter(both, others)(DEPTHWISE)
    )


@pytest.mark.parametrize("fit", [fit_nn_meter, fit_nn_meter_log])
def test_forests_learn_a_smooth_cost(fit: object) -> None:
    costs = operations(CONVOLUTIONS) * 1e-9 + 1e-6
    held_out = np.arange(len(costs)) % 5 == 2
    known = [k for k, out in zip(CONVOLUTIONS, held_out, strict=True) if not out]
    unknown = [k for k, out in zip(CONVOLUTIONS, held_out, strict=True) if out]
    predicted = fit(known, costs[~held_out])(unknown)  # type: ignore[operator]
    assert np.median(np.abs(predicted / costs[held_out] - 1)) < 0.1


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_the_unit_of_the_measurements_does_not_matter(scale: float) -> None:
    known, costs = DEPTHWISE[::2], operations(DEPTHWISE[::2])
    np.testing.assert_allclose(
        fit_nn_meter(known, costs * scale)(DEPTHWISE), fit_nn_meter(known, costs)(DEPTHWISE) * scale
    )
