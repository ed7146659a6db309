"""Small weights become zero: as a pass, on a model, and over the steps of a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight
from tvm import relax
from tvm.relax.expr_functor import PyExprVisitor, visitor

from tvm_prune.errors import PlanError
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model
from tvm_prune.transform import PolynomialSchedule, PruneWeights, WeightThreshold, prune_weights

Array = NDArray[Any]


@pytest.fixture(scope="module")
def model() -> Model:
    body = "a = Conv(x, first, bias) r = Relu(a) y = Conv(r, second)"
    weights = {
        "first": weight(4, 3, 1, 1, seed=1),
        "bias": np.full(4, 1e-6, "float32"),
        "second": weight(2, 4, 1, 1, seed=2),
    }
    return load_onnx(onnx_model(body, weights))


def test_an_absolute_threshold_is_a_size() -> None:
    values = np.array([[0.1, -0.3], [0.2, -0.05]], "float32")
    found = WeightThreshold("absolute", 0.2).apply(values)
    np.testing.assert_array_equal(found, np.array([[0, -0.3], [0.2, 0]], "float32"))


def test_a_relative_threshold_is_a_share_of_the_largest() -> None:
    values = np.array([[0.1, -0.4], [0.2, -0.05]], "float32")
    found = WeightThreshold("relative", 0.5).apply(values)
    np.testing.assert_array_equal(found, np.array([[0, -0.4], [0.2, 0]], "float32"))


@given(st.integers(1, 40), st.floats(0, 100), st.integers(0, 3))
def test_a_percentile_is_the_share_that_goes(size: int, percent: float, levels: int) -> None:
    generator = np.random.default_rng(size)
    values = generator.integers(1, 2 + levels, size=(size, 1)).astype("float32")
    found = WeightThreshold("percentile", percent).apply(values)
    assert int((found == 0).sum()) == int(size * percent / 100)
    kept, gone = values[found != 0], values[found == 0]
    assert not kept.size or not gone.size or gone.max() <= kept.min()
    np.testing.assert_array_equal(found[found != 0], kept)


def test_biases_and_the_given_model_stay_as_they_are(model: Model) -> None:
    before = {name: value.copy() for name, value in model.parameters.items()}
    pruned = prune_weights(model, WeightThreshold("percentile", 50))
    np.testing.assert_array_equal(pruned.parameters["bias"], before["bias"])
    for name in ("first", "second"):
        assert (pruned.parameters[name] == 0).mean() == 0.5
        np.testing.assert_array_equal(model.parameters[name], before[name])


@visitor
class Constants(PyExprVisitor):  # type: ignore[misc]
    def __init__(self) -> None:
        self.found: list[Array] = []

    def visit_generic_const_(self, constant: Any) -> None:
        self.found.append(constant.value.numpy())


def test_the_pass_zeroes_constants_and_changes_nothing_else(model: Model) -> None:
    threshold = WeightThreshold("percentile", 50)
    after = tvm.transform.Sequential([PruneWeights(threshold)])(model.bound())
    tvm.ir.assert_structural_equal(after, prune_weights(model, threshold).bound())
    visitor_ = Constants()
    visitor_.visit_expr(after["main"])
    zeros = sorted(float((value == 0).mean()) for value in visitor_.found if value.ndim == 4)
    assert zeros[-2:] == [0.5, 0.5]


def test_the_pass_zeroes_the_params_of_a_function(model: Model) -> None:
    values = [tvm.runtime.tensor(value) for value in model.parameters.values()]
    module = model.module.clone()
    module["main"] = module["main"].with_attr("params", values)
    after = PruneWeights(WeightThreshold("absolute", 1e9))(module)
    for old, new in zip(values, after["main"].attrs["params"], strict=True):
        is_bias = len(old.shape) == 1
        assert (new.numpy() == (old.numpy() if is_bias else 0)).all()
    assert isinstance(after["main"], relax.Function)


def test_a_schedule_rises_fast_at_first_and_stays_at_its_end() -> None:
    schedule = PolynomialSchedule(final=80, steps=10)
    values = [schedule.at(step).value for step in range(13)]
    assert values[0] == 0
    assert values[10:] == [80, 80, 80]
    assert values == sorted(values)
    gains = np.diff(values[:11])
    assert (np.diff(gains) < 0).all()
    assert values[5] == pytest.approx(80 * (1 - 0.5**3))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("absolute", -1.0), ("relative", 1.1), ("percentile", 101), ("nearest", 1)],
)
def test_thresholds_that_make_no_sense_are_errors(kind: Any, value: float) -> None:
    with pytest.raises(PlanError, match="threshold"):
        WeightThreshold(kind, value)
