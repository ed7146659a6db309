"""Criteria that look at what the model computes, against definitions worked out by hand."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

from tvm_prune.channels import find_channels
from tvm_prune.errors import PruneError
from tvm_prune.frontend import load_onnx
from tvm_prune.importance import Context, Thresholds, raw_scores
from tvm_prune.importance.gradients import gradients
from tvm_prune.importance.predictions import log_chances
from tvm_prune.importance.relax_gradients import RelaxGradients
from tvm_prune.importance.torch_graph import TorchGraph
from tvm_prune.model import Model

Array = NDArray[Any]
NEEDS_DATA = ("apoz", "mean_activation", "taylor", "fisher", "reconstruction")
CLASSIFIER = """
    a = Conv <pads=[1,1,1,1]> (x, first) n = BatchNormalization(a, scale, shift, mean, variance)
    r = Relu(n) m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r)
    c = Conv <pads=[1,1,1,1]> (m, second, bias) s = Relu(c)
    p = GlobalAveragePool(s) f = Flatten(p) y = Gemm <transB=1> (f, dense, offset)
"""


def weights() -> dict[str, Array]:
    generator = np.random.default_rng(3)
    return {
        "first": weight(6, 3, 3, 3, seed=1),
        "scale": np.array([1, -3, 0.5, 2, 0, 1.5], "float32"),
        "shift": generator.standard_normal(6).astype("float32"),
        "mean": generator.standard_normal(6).astype("float32"),
        "variance": generator.uniform(0.5, 1.5, 6).astype("float32"),
        "second": weight(5, 6, 3, 3, seed=2),
        "bias": generator.standard_normal(5).astype("float32"),
        "dense": weight(4, 5, seed=4),
        "offset": generator.standard_normal(4).astype("float32"),
    }


@pytest.fixture(scope="module")
def model() -> Model:
    return load_onnx(onnx_model(CLASSIFIER, weights()))


def samples(count: int = 24) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    return {
        "x": generator.standard_normal((count, 3, 8, 8)).astype("float32"),
        "label": generator.integers(0, 4, count),
    }


def context(model: Model, data: dict[str, Array] | None = None, keep: tuple[str, ...] = ()) -> Any:
    channels = find_channels(model.module, keep=keep)
    return Context(channels, model.parameters, 0, model, data)


def reference(x: Array, dead: tuple[int, ...] = ()) -> tuple[Any, Any, Any]:
    """Activations that the second convolution and the dense layer read, and the logits."""
    w = {name: torch.from_numpy(value) for name, value in weights().items()}
    a = torch.nn.functional.conv2d(torch.from_numpy(x), w["first"], padding=1)
    n = torch.nn.functional.batch_norm(a, w["mean"], w["variance"], w["scale"], w["shift"])
    m = torch.nn.functional.max_pool2d(torch.relu(n), 2)
    m[:, list(dead)] = 0
    s = torch.relu(torch.nn.functional.conv2d(m, w["second"], w["bias"], padding=1))
    f = s.mean(dim=(2, 3))
    return m, f, f @ w["dense"].T + w["offset"]


@pytest.mark.parametrize("criterion", NEEDS_DATA)
def test_without_samples_the_user_is_told_what_is_missing(criterion: str, model: Model) -> None:
    with pytest.raises(PruneError, match="needs calibration samples"):
        raw_scores(context(model), criterion)


def test_bn_scale_is_the_absolute_scale(model: Model) -> None:
    scores = raw_scores(context(model), "bn_scale")
    np.testing.assert_allclose(scores[0], [1, 3, 0.5, 2, 0, 1.5])
    np.testing.assert_allclose(scores[1], raw_scores(context(model), "l2")[1])


def test_bn_scale_of_a_model_without_batch_norms_is_an_error() -> None:
    body = "a = Conv(x, first) r = Relu(a) y = Conv(r, second)"
    model = load_onnx(onnx_model(body, {"first": weight(4, 3, 1, 1), "second": weight(2, 4, 1, 1)}))
    with pytest.raises(PruneError, match="the model has none"):
        raw_scores(context(model), "bn_scale")


def test_fpgm_finds_the_unit_nearest_to_all_others() -> None:
    first = np.array([[0, 0, 0], [1, 0, 0], [9, 0, 0], [2, 0, 0]], "float32")[:, :, None, None]
    body = "a = Conv(x, first) r = Relu(a) y = Conv(r, second)"
    model = load_onnx(
        onnx_model(body, {"first": first, "second": np.zeros((2, 4, 1, 1), "float32")})
    )
    [score] = raw_scores(context(model), "fpgm")
    np.testing.assert_allclose(score, [12, 10, 24, 10])


def test_lamp_divides_by_all_that_is_no_smaller() -> None:
    first = np.array([[3, 0, 0], [1, 0, 0], [2, 0, 0]], "float32")[:, :, None, None]
    body = "a = Conv(x, first) r = Relu(a) y = Conv(r, second)"
    model = load_onnx(
        onnx_model(body, {"first": first, "second": np.zeros((2, 3, 1, 1), "float32")})
    )
    [score] = raw_scores(context(model), "lamp")
    np.testing.assert_allclose(score, [9 / 9, 1 / 14, 4 / 13])


def test_apoz_and_mean_activation_are_taken_where_the_next_layer_reads(model: Model) -> None:
    data = samples()
    read, features, _ = reference(data["x"])
    frequency = raw_scores(context(model, data), "apoz")
    strength = raw_scores(context(model, data), "mean_activation")
    for values, axes, index in ((read, (0, 2, 3), 0), (features, (0,), 1)):
        fires = (values > 0).double().mean(dim=axes)
        mean = values.double().abs().mean(dim=axes)
        np.testing.assert_allclose(frequency[index] / frequency[index].sum(), fires / fires.sum())
        np.testing.assert_allclose(
            strength[index] / strength[index].sum(), mean / mean.sum(), rtol=1e-5
        )


def test_gradients_are_those_of_the_cross_entropy_of_the_labels(model: Model) -> None:
    data = samples(3)
    features = reference(data["x"])[1]
    dense = torch.from_numpy(weights()["dense"]).requires_grad_()
    offset = torch.from_numpy(weights()["offset"])
    for index, found in enumerate(gradients(context(model, data))):
        dense.grad = None
        logits = features[index : index + 1] @ dense.T + offset
        label = torch.from_numpy(data["label"][index : index + 1])
        torch.nn.functional.cross_entropy(logits, label).backward()
        np.testing.assert_allclose(found["dense"], dense.grad, rtol=1e-4, atol=1e-6)
        assert set(found) >= {"first", "scale", "second", "dense"}


def test_taylor_is_the_squared_first_order_change_of_the_loss(model: Model) -> None:
    data = samples(6)
    scores = raw_scores(context(model, data), "taylor")
    expected = np.zeros(5)
    for index in range(6):
        features = reference(data["x"][index : index + 1])[1].requires_grad_()
        dense, offset = (torch.from_numpy(weights()[name]) for name in ("dense", "offset"))
        label = torch.from_numpy(data["label"][index : index + 1])
        torch.nn.functional.cross_entropy(features @ dense.T + offset, label).backward()
        expected += (features * features.grad).detach().numpy()[0] ** 2
    np.testing.assert_allclose(scores[1], expected, rtol=1e-3, atol=1e-9)


def test_fisher_is_half_the_squared_gradient_times_the_squared_weight(model: Model) -> None:
    data = samples(4)
    found = list(gradients(context(model, data)))
    squares = {name: np.mean([g[name] ** 2 for g in found], axis=0) for name in found[0]}
    half = {name: squares[name] * weights()[name] ** 2 / 2 for name in squares}
    expected = half["second"].sum((1, 2, 3)) + half["bias"] + half["dense"].sum(0)
    np.testing.assert_allclose(raw_scores(context(model, data), "fisher")[1], expected, rtol=1e-3)


def test_without_labels_classes_are_drawn_from_the_seed(model: Model) -> None:
    data = {"x": samples()["x"]}
    one, again = (raw_scores(context(model, data), "taylor") for _ in range(2))
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
        assert (first >= 0).all()
        assert first.max() > 0


def test_an_op_without_a_gradient_is_named() -> None:
    body = """
        a = Conv(x, first) r = Acosh(a) y = Conv(r, second)
    """
    model = load_onnx(onnx_model(body, {"first": weight(4, 3, 1, 1), "second": weight(2, 4, 1, 1)}))
    with pytest.raises(PruneError, match="Gradients of Acosh") as caught:
        raw_scores(context(model, {"x": samples()["x"]}), "taylor")
    assert "Relax's Gradient pass does not cover" in str(caught.value)


def test_relax_and_pytorch_find_the_same_gradients(model: Model) -> None:
    data, own = samples(2), context(model, samples(2))
    seeds = [np.random.default_rng(1).standard_normal((1, 4)).astype("float32")]
    names = list(model.parameters)
    by_relax = RelaxGradients(model, names)
    by_torch = TorchGraph(own.onnx, names)
    for batch in own.batches():
        found, wanted = by_relax(batch, seeds), by_torch.gradients(batch, seeds)
        assert {"first", "scale", "second", "bias", "dense", "offset"} <= set(found) & set(wanted)
        for name in set(found) & set(wanted):
            np.testing.assert_allclose(found[name], wanted[name], rtol=2e-3, atol=1e-5)
    assert len(data["x"]) == 2


def test_without_pytorch_gradients_come_from_relax(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = samples(4)
    expected = raw_scores(context(model, data), "taylor")
    monkeypatch.setitem(sys.modules, "tvm_prune.importance.torch_graph", None)
    for one, other in zip(expected, raw_scores(context(model, data), "taylor"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-7)


def test_reconstruction_knows_that_a_copy_is_not_missed(model: Model) -> None:
    parameters = {name: value.copy() for name, value in model.parameters.items()}
    for name in ("first", "scale", "shift", "mean", "variance"):
        parameters[name][3] = parameters[name][1]
    twins = model.with_parameters(parameters)
    score = raw_scores(context(twins, samples(64)), "reconstruction")[0]
    order = np.argsort(score)
    # Unit 4 has scale 0 and is constant, which the bias takes over; one of the twins is redundant.
    assert set(order[:2].tolist()) <= {1, 3, 4}
    assert score[order[1]] < 0.05 * score[order[2]]


def test_reconstruction_is_the_error_that_least_squares_leaves(model: Model) -> None:
    """For the dense layer, whose inputs are few enough to fit the rest of the channels exactly."""
    data = samples(400)
    features = reference(data["x"])[1].numpy().astype(np.float64)
    centred = features - features.mean(axis=0)
    dense = weights()["dense"].astype(np.float64)
    errors = []
    for unit in range(5):
        rest = np.delete(centred, unit, axis=1)
        fitted, *_ = np.linalg.lstsq(rest, centred @ dense.T, rcond=None)
        errors.append(((centred @ dense.T - rest @ fitted) ** 2).sum())
    relative = np.array(errors) / ((centred @ dense.T) ** 2).sum()
    score = raw_scores(context(model, data), "reconstruction")[1]
    assert int(np.argmin(score)) == int(np.argmin(relative))
    assert score.min() == pytest.approx(relative.min(), rel=0.05)


def test_flattened_and_concatenated_channels_are_scored() -> None:
    body = """
        a = Conv <pads=[1,1,1,1]> (x, first) r = Relu(a) b = Conv <pads=[1,1,1,1]> (x, other)
        c = Concat <axis=1> (r, b) d = Conv(c, second) e = Relu(d)
        f = Flatten(e) y = Gemm <transB=1> (f, dense)
    """
    shapes = {"first": (6, 3, 3, 3), "other": (3, 3, 3, 3), "second": (4, 9, 1, 1)}
    values = {name: weight(*shape) for name, shape in shapes.items()}
    model = load_onnx(onnx_model(body, {**values, "dense": weight(5, 4 * 64)}))
    for criterion in ("reconstruction", "mean_activation", "taylor"):
        scores = raw_scores(context(model, {"x": samples()["x"]}), criterion)
        assert sorted(score.size for score in scores) == [3, 4, 6]
        assert all((score > 0).any() and np.isfinite(score).all() for score in scores)


def test_thresholds_lower_the_highest_width_but_never_below_the_lowest() -> None:
    scores = [np.array([1.0, 4.0, 0.1, 0.3]), np.array([0.01, 0.02])]
    limits = ((1, 4), (1, 2))
    assert Thresholds(absolute=0.3).limit(scores, limits) == ((1, 3), (1, 1))
    assert Thresholds(relative=0.5).limit(scores, limits) == ((1, 1), (1, 2))
    assert Thresholds(relative=0.2).limit(scores, limits) == ((1, 2), (1, 2))
    assert Thresholds(absolute=0.05, relative=0.2).limit(scores, limits) == ((1, 2), (1, 1))
    assert Thresholds().limit(scores, limits) == limits
    assert not Thresholds().given


@pytest.mark.parametrize("wrong", [{"absolute": -1.0}, {"relative": 1.5}, {"relative": -0.1}])
def test_thresholds_that_make_no_sense_are_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(PruneError, match="threshold"):
        Thresholds(**wrong)


def test_many_units_go_in_much_the_same_order_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = importlib.import_module("tvm_prune.importance.reconstruction")
    generator = np.random.default_rng(0)
    factor = generator.standard_normal((48, 30))
    rows = np.concatenate([factor, factor[:, :10] + 0.01 * generator.standard_normal((48, 10))], 1)
    weights = generator.standard_normal((40, 6))

    def scores() -> Array:
        inverse = np.linalg.inv(rows.T @ rows / 48 + 1e-3 * np.eye(40))
        return np.asarray(module._eliminate([module._Reader(inverse, weights @ weights.T, 1.0)]))

    exact = scores()
    monkeypatch.setattr(module, "ONE_BY_ONE", 4)
    few = scores()
    assert set(np.argsort(few)[:10]) == set(np.argsort(exact)[:10])
    twins = {(unit % 30 if unit >= 30 else unit) for unit in np.argsort(few)[:10].tolist()}
    assert len(twins) == 10, "of two copies one stays"
    assert np.corrcoef(np.argsort(np.argsort(few)), np.argsort(np.argsort(exact)))[0, 1] > 0.95


def test_a_softmax_at_the_end_changes_no_gradient_and_no_curve(model: Model) -> None:
    ended = load_onnx(onnx_model(CLASSIFIER.replace("y = Gemm", "z = Gemm") + "y = Softmax(z)",
                                 weights()))  # fmt: skip
    data = samples(12)
    for criterion in ("taylor", "fisher"):
        plain, with_softmax = (
            raw_scores(context(each, data), criterion) for each in (model, ended)
        )
        for one, other in zip(plain, with_softmax, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-7)
    logits = np.random.default_rng(0).standard_normal((4, 3))
    chances = np.exp(log_chances(logits))
    np.testing.assert_allclose(log_chances(chances), log_chances(logits))
