"""Importance of units, on networks small enough to compute it by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

from tvm_prune.channels import find_channels, keep_best
from tvm_prune.errors import PruneError
from tvm_prune.frontend import load_onnx
from tvm_prune.importance import CRITERIA, Context, score_units
from tvm_prune.model import Model

Array = NDArray[Any]


def two_layers(first: Array, second: Array, bias: Array | None = None) -> Model:
    """1x1 convolutions with a bias between them; its channels are the one group."""
    bias = np.zeros(len(first), "float32") if bias is None else bias
    body = "a = Conv(x, first, bias) r = Relu(a) y = Conv(r, second)"
    return load_onnx(onnx_model(body, {"first": first, "bias": bias, "second": second}))


def scores(model: Model, criterion: str, seed: int = 0) -> list[Array]:
    images = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype("float32")
    context = Context(find_channels(model.module), model.parameters, seed, model, {"x": images})
    return score_units(context, criterion)


def pointwise(rows: list[list[float]]) -> Array:
    return np.array(rows, dtype="float32")[:, :, None, None]


@pytest.fixture(scope="module")
def known() -> Model:
    """Unit 0 has weights (1, -2, 0) and (2), unit 1 (0, 0, 4) and (-4), unit 2 (3, 0, 4), (0)."""
    first = pointwise([[1, -2, 0], [0, 0, 4], [3, 0, 4]])
    second = pointwise([[2, -4, 0]])
    return two_layers(first, second, np.array([100, 200, 300], "float32"))


@pytest.fixture(scope="module")
def network() -> Model:
    """Three groups of different widths and scales."""
    body = """
        n = Conv <pads=[1,1,1,1]> (x, one) a = BatchNormalization(n, scale, shift, mean, variance)
        b = Relu(a) c = Conv <pads=[1,1,1,1]> (b, two) d = Relu(c)
        e = Conv(d, three) f = Relu(e)
        y = Conv(f, four)
    """
    weights = {
        "one": weight(8, 3, 3, 3),
        **{name: np.ones(8, "float32") for name in ("scale", "shift", "mean", "variance")},
        "two": weight(6, 8, 3, 3) * 100,
        "three": weight(4, 6, 1, 1) / 100,
        "four": weight(2, 4, 1, 1),
    }
    return load_onnx(onnx_model(body, weights))


def test_l1_is_the_sum_of_absolute_weights_without_biases(known: Model) -> None:
    [score] = scores(known, "l1")
    expected = np.array([1 + 2 + 2, 4 + 4, 3 + 4 + 0])
    np.testing.assert_allclose(score, expected / expected.mean())


def test_l2_is_the_euclidean_norm_without_biases(known: Model) -> None:
    [score] = scores(known, "l2")
    expected = np.sqrt([1 + 4 + 4, 16 + 16, 9 + 16 + 0])
    np.testing.assert_allclose(score, expected / expected.mean())


def test_constant_makes_all_units_equal(network: Model) -> None:
    for score in scores(network, "constant"):
        assert (score == 1).all()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_scores_every_unit_and_every_group_alike_on_average(
    criterion: str, network: Model
) -> None:
    groups = find_channels(network.module).groups
    found = scores(network, criterion)
    assert [score.shape for score in found] == [(group.width,) for group in groups]
    assert sorted(score.size for score in found) == [4, 6, 8]
    for score in found:
        assert (score >= 0).all()
        assert score.mean() == pytest.approx(1)


def test_random_is_repeatable_by_its_seed(network: Model) -> None:
    one, again, other = (scores(network, "random", seed) for seed in (1, 1, 2))
    for first, second, third in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first, third)


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_magnitude_does_not_depend_on_the_seed(criterion: str, network: Model) -> None:
    for first, second in zip(
        scores(network, criterion, 1), scores(network, criterion, 2), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize("dead", range(4))
def test_a_unit_whose_weights_are_zero_goes_first(criterion: str, dead: int) -> None:
    first, second = weight(4, 3, 1, 1, seed=1), weight(2, 4, 1, 1, seed=2)
    first[dead], second[:, dead] = 0, 0
    [score] = scores(two_layers(first, second), criterion)
    assert score[dead] == 0
    assert (np.delete(score, dead) > 0).all()
    [kept] = keep_best([score], [3])
    assert not kept[dead]


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_a_layer_of_zeros_has_equal_units_and_finite_scores(criterion: str) -> None:
    zero = np.zeros((4, 3, 1, 1), "float32"), np.zeros((2, 4, 1, 1), "float32")
    [score] = scores(two_layers(*zero), criterion)
    np.testing.assert_array_equal(score, np.ones(4))


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_the_raw_scale_of_a_layer_does_not_count(criterion: str, network: Model) -> None:
    louder = network.with_parameters(
        {name: value * 1000 for name, value in network.parameters.items()}
    )
    for first, second in zip(scores(network, criterion), scores(louder, criterion), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4)


def test_an_unknown_criterion_names_the_nearest_and_all_others(known: Model) -> None:
    with pytest.raises(PruneError, match="Did you mean 'random'") as caught:
        scores(known, "randon")
    for name in CRITERIA:
        assert name in str(caught.value)
