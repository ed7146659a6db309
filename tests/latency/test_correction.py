"""Whole models cost more than their kernels say, by a ratio that depends on how wide they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.latency import Correction

costs = st.floats(1e-6, 1e3)
models = st.lists(st.tuples(costs, costs), min_size=1, max_size=4)


@given(models, costs)
def test_what_has_to_be_predicted_is_the_inverse_of_what_is_expected(models, cost) -> None:
    correction = Correction.through(models)
    assert correction.predicted_for(correction.expected(cost)) == pytest.approx(cost)


@given(models, costs, costs)
def test_of_two_models_the_one_predicted_to_be_cheaper_is_expected_to_be(models, one, two) -> None:
    correction = Correction.through(models)
    low, high = sorted((one, two))
    assert correction.expected(low) <= correction.expected(high) * (1 + 1e-9)


@given(models)
def test_models_that_were_measured_are_expected_to_cost_that(models) -> None:
    correction = Correction.through(models)
    dense, cost = models[0]
    assert correction.expected(dense) == pytest.approx(cost)
    for predicted, measured in zip(correction.predicted, correction.measured, strict=True):
        assert correction.expected(predicted) == pytest.approx(measured)


def test_beyond_the_models_that_were_measured_their_ratio_stays() -> None:
    correction = Correction.through([(10.0, 20.0), (4.0, 12.0)])
    assert correction.expected(40.0) == pytest.approx(80.0)
    assert correction.expected(1.0) == pytest.approx(3.0)
    assert 2.0 < correction.expected(6.0) / 6.0 < 3.0


@pytest.mark.parametrize("other", [(4.0, 19.0), (9.5, 12.0), (10.0, 20.0)])
def test_a_model_that_is_not_clearly_cheaper_than_the_dense_one_tells_nothing(other) -> None:
    assert Correction.through([(10.0, 20.0), other]) == Correction.through([(10.0, 20.0)])
