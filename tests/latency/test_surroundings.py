"""Models cost more than their kernels, by the bytes that are moved and the calls that are made."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.latency import Surroundings, WholeModel, contrasting_widths
from tvm_prune.latency.surroundings import narrow_widths
from tvm_prune.units import SECONDS

SHAPES = ((400e-6, 2e6, 12), (90e-6, 6e5, 12), (200e-6, 1.6e6, 12), (300e-6, 9e5, 12))
"""Seconds of the kernels, bytes and calls of four models."""

per_bytes = st.floats(0.0, 1e-9)
per_calls = st.floats(0.0, 2e-6)
limits = st.lists(st.tuples(st.integers(1, 8), st.integers(8, 64)), min_size=1, max_size=9)


def models_in(around: Surroundings) -> Sequence[WholeModel]:
    return [
        WholeModel(
            kernels, moved, calls, kernels + around.per_byte * moved + around.per_call * calls
        )
        for kernels, moved, calls in SHAPES
    ]


@given(per_bytes, per_calls)
def test_what_models_add_by_the_byte_and_by_the_call_is_told_apart(per_byte, per_call) -> None:
    found = Surroundings.around(models_in(Surroundings(per_byte, per_call)), SECONDS)
    assert found.per_byte == pytest.approx(per_byte, rel=1e-3, abs=1e-14)
    assert found.per_call == pytest.approx(per_call, rel=1e-2, abs=1e-8)


@given(st.lists(st.floats(1e-6, 1e-2), min_size=4, max_size=4))
def test_models_add_nothing_negative_and_no_more_than_is_plausible(measured) -> None:
    models = [
        WholeModel(kernels, moved, calls, cost)
        for (kernels, moved, calls), cost in zip(SHAPES, measured, strict=True)
    ]
    found = Surroundings.around(models, SECONDS)
    assert 0.0 <= found.per_byte <= 1e-9
    assert 0.0 <= found.per_call <= 2e-6


@pytest.mark.parametrize(("beyond", "told"), [(0.05, 0.05), (2.0, 0.1), (-0.3, 0.0)])
def test_where_costs_are_counted_all_is_by_the_call_but_a_disturbance(beyond, told) -> None:
    dense = WholeModel(1e6, 2e6, 10, (1 + beyond) * 1e6)
    found = Surroundings.around([dense], "instructions")
    assert found.per_byte == 0.0
    assert found.per_call * 10 == pytest.approx(told * 1e6)


@given(limits)
def test_models_to_compare_are_different_and_within_the_limits(limits) -> None:
    dense = tuple(highest for _, highest in limits)
    models = contrasting_widths(dense, tuple(limits))
    assert models[0] == dense
    assert len(set(models)) == len(models)
    assert all(
        low <= width <= high
        for widths in models
        for width, (low, high) in zip(widths, limits, strict=True)
    )


def test_either_half_of_the_groups_is_narrow_in_one_of_them() -> None:
    dense, limits = (64, 64, 32, 32), ((1, 64), (1, 64), (1, 32), (1, 32))
    assert contrasting_widths(dense, limits) == [
        (64, 64, 32, 32), (24, 24, 12, 12), (24, 24, 32, 32), (64, 64, 12, 12),
    ]  # fmt: skip


def test_a_narrow_model_has_widths_that_schedules_like_within_the_limits() -> None:
    limits = ((7, 64), (3, 32), (96, 96), (48, 64), (1, 5))
    widths = narrow_widths(limits)
    assert all(low <= width <= high for width, (low, high) in zip(widths, limits, strict=True))
    assert widths == (24, 12, 96, 48, 2)
