"""What the planner goes by: sensitivity curves, thresholds, scores of what is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

from tvm_prune.channels import find_channels, keep_best, plan_for_units
from tvm_prune.compilation import Compilation
from tvm_prune.frontend import load_onnx
from tvm_prune.importance import Context, score_units
from tvm_prune.iteration import narrowed, schedule
from tvm_prune.model import Model
from tvm_prune.recover import reconstruct
from tvm_prune.scoring import score
from tvm_prune.sensitivity import refit, sensitivity_curves
from tvm_prune.settings import Settings
from tvm_prune.transform import masked_model, prune_parameters, pruned_model
from tvm_prune.verification import reference_outputs

Array = NDArray[Any]
BODY = """
    a = Conv <pads=[1,1,1,1]> (x, stem) r = Relu(a)
    b = Conv <pads=[1,1,1,1]> (r, inner) s = Relu(b)
    c = Conv <pads=[1,1,1,1]> (s, outer) d = Add(c, r) t = Relu(d)
    p = GlobalAveragePool(t) f = Flatten(p) y = Gemm <transB=1> (f, dense)
"""


@pytest.fixture(scope="module")
def model() -> Model:
    weights = {
        "stem": weight(8, 3, 3, 3, seed=1),
        "inner": weight(6, 8, 3, 3, seed=2),
        "outer": weight(8, 6, 3, 3, seed=3) / 4,
        "dense": weight(5, 8, seed=4) * 4,
    }
    return load_onnx(onnx_model(BODY, weights))


def images(count: int, seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    colour = generator.standard_normal((count, 3, 1, 1))
    return {"x": (colour + generator.standard_normal((count, 3, 8, 8))).astype("float32")}


def divergence(dense: Array, found: Array) -> float:
    before, after = (
        logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        for logits in (dense.astype(np.float64), found.astype(np.float64))
    )
    return float((np.exp(before) * (before - after)).sum(axis=1).mean())


def test_curves_fall_to_zero_and_are_those_of_the_recovered_network(model: Model) -> None:
    channels, x = find_channels(model.module), images(64)
    context = Context(channels, model.parameters, 0, model, x)
    scores = score_units(context, "l2")
    limits = tuple((1, group.width) for group in channels.groups)
    curves = sensitivity_curves(context, scores, limits)
    [dense] = reference_outputs(model, x)
    for index, curve in enumerate(curves):
        assert curve is not None
        assert curve.loss[-1] == 0
        assert (np.diff(curve.loss[1:]) <= 1e-12).all()
        widths = [group.width for group in channels.groups]
        widths[index] = 3
        assert 3 in curve.widths
        plan = plan_for_units(channels, keep_best(scores, widths), model.parameters)
        plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, x)
        unrecovered, recovered = (
            divergence(dense, reference_outputs(masked_model(model, plan, each), x)[0])
            for each in (plain, values)
        )
        assert curve.loss[3] < unrecovered
        assert recovered / 2 < curve.loss[3] < 2 * recovered


def test_where_nothing_is_recovered_curves_are_those_of_the_pruned_network(model: Model) -> None:
    channels, x = find_channels(model.module), images(64)
    context = Context(channels, model.parameters, 0, model, x)
    scores = score_units(context, "l2")
    limits = tuple((1, group.width) for group in channels.groups)
    judged = {"x": x["x"][:32]}
    [dense] = reference_outputs(model, judged)
    for index, curve in enumerate(sensitivity_curves(context, scores, limits, recover=False)):
        assert curve is not None
        widths = [group.width for group in channels.groups]
        widths[index] = 3
        plan = plan_for_units(channels, keep_best(scores, widths), model.parameters)
        plain = masked_model(model, plan, prune_parameters(model.parameters, plan))
        lost = divergence(dense, reference_outputs(plain, judged)[0])
        assert lost > 1e-3
        # The loss of a wider group, where that is more, counts as this one's too.
        assert curve.loss[3] >= 0.999 * lost
        assert curve.loss[3] == pytest.approx(max(lost, curve.loss[4]), rel=1e-3)


@pytest.mark.parametrize("most_inputs", [refit.MOST_INPUTS, 8])
def test_a_copy_of_a_channel_costs_nothing_to_remove(
    model: Model, monkeypatch: pytest.MonkeyPatch, most_inputs: int
) -> None:
    """Also where a layer is so wide that all positions of its window are predicted alike."""
    monkeypatch.setattr(refit, "MOST_INPUTS", most_inputs)
    parameters = {name: value.copy() for name, value in model.parameters.items()}
    parameters["inner"][4] = parameters["inner"][1]
    twins = model.with_parameters(parameters)
    channels = find_channels(twins.module)
    index = next(group.index for group in channels.groups if group.name == "inner")
    context = Context(channels, twins.parameters, 0, twins, images(64))
    scores = score_units(context, "reconstruction")
    limits = tuple((1, group.width) for group in channels.groups)
    curve = sensitivity_curves(context, scores, limits)[index]
    assert curve is not None
    assert curve.loss[5] < 1e-3 * curve.loss[1]


def test_pixels_of_a_flattened_image_are_predicted_alike() -> None:
    body = """
        a = Conv <pads=[1,1,1,1]> (x, stem) r = Relu(a) f = Flatten(r)
        y = Gemm <transB=1> (f, dense)
    """
    weights = {"stem": weight(6, 3, 3, 3, seed=1), "dense": weight(5, 6 * 64, seed=2)}
    weights["stem"][4] = weights["stem"][1]
    model = load_onnx(onnx_model(body, weights))
    channels = find_channels(model.module)
    [group] = [group for group in channels.groups if group.width == 6]
    context = Context(channels, model.parameters, 0, model, images(8))
    scores = [np.ones(each.width) for each in channels.groups]
    scores[group.index][4] = 0.5
    limits = tuple((1, each.width) for each in channels.groups)
    curve = sensitivity_curves(context, scores, limits)[group.index]
    assert curve is not None
    assert curve.loss[5] < 1e-3 * curve.loss[1]


def test_labels_make_the_loss_that_of_the_labels(model: Model) -> None:
    """Of a network that is sure of its classes, so that any change costs."""
    sure = {
        name: value * (50 if name == "dense" else 1) for name, value in model.parameters.items()
    }
    model = model.with_parameters(sure)
    channels, x = find_channels(model.module), images(64)
    labels = reference_outputs(model, x)[0].argmax(axis=1)
    context = Context(channels, model.parameters, 0, model, {**x, "label": labels})
    scores = score_units(context, "l2")
    limits = tuple((1, group.width) for group in channels.groups)
    for curve in sensitivity_curves(context, scores, limits):
        assert curve is not None
        assert curve.loss[1] > 0


def test_thresholds_bound_what_the_planner_may_keep(model: Model) -> None:
    channels = find_channels(model.module)
    settings = Settings(criterion="l2", objective="importance")
    free = score(model, channels, images(8), settings)
    assert [high for _, high in free.limits] == [group.width for group in channels.groups]
    bound = score(model, channels, images(8), replace(settings, relative_threshold=0.9))
    for one, (low, high) in zip(free.scores, bound.limits, strict=True):
        assert high == max(low, int((one >= 0.9 * one.max()).sum()))
    assert not free.shares


def test_the_objective_decides_whether_sensitivity_is_measured(model: Model) -> None:
    channels = find_channels(model.module)
    for objective, measured in (("latency", True), ("sensitivity", True), ("importance", False)):
        settings = Settings(objective=objective)  # type: ignore[arg-type]
        scoring = score(model, channels, images(16), settings)
        assert bool(scoring.shares) == measured
        for share, group in zip(scoring.shares, channels.groups, strict=False):
            assert share.shape == (group.width + 1,)
            assert share[-1] == 1
            assert (share > 0).all()


def test_a_schedule_goes_all_the_way_and_fastest_at_first_where_it_is_polynomial() -> None:
    for name in ("polynomial", "linear"):
        way = [schedule(name, step / 5) for step in range(6)]
        assert way[0] == 0
        assert way[-1] == 1
        assert way == sorted(way)
    assert schedule("polynomial", 0.5) == 1 - 0.5**3
    assert schedule("linear", 0.5) == 0.5


def test_scores_of_what_is_left_are_those_of_the_same_units(model: Model) -> None:
    channels = find_channels(model.module)
    widths = tuple(group.width for group in channels.groups)
    generator = np.random.default_rng(0)
    scores = [generator.random(width) for width in widths]
    limits = tuple((1, width) for width in widths)
    compilation = Compilation(model, channels, scores, limits, None)
    plan = compilation.plan(tuple(width - 2 for width in widths))
    left = pruned_model(model, plan)
    scoring = score(
        left, find_channels(left.module), images(16), Settings(criterion="l2", objective="latency")
    )
    again = narrowed(compilation, plan, find_channels(left.module), scoring)
    kept = keep_best(scores, [width - 2 for width in widths])
    for index, mask in enumerate(kept):
        assert ((again.scores[index] > 0) == mask).all()
        assert again.limits[index] == (1, widths[index] - 2)
        assert again.shares[index].shape == (widths[index] + 1,)
    # Narrower still, what goes is what matters least in the pruned model.
    fewer = again.plan(tuple(width - 3 for width in widths))
    group = next(group for group in channels.groups if group.name == "inner")
    [entry] = [entry for entry in group.slices if entry.parameter == "inner"]
    lost = set(plan.kept["inner"][0]) - set(fewer.kept["inner"][0])
    assert len(lost) == 1
    norms = np.sqrt(
        (left.parameters["inner"] ** 2).sum((1, 2, 3))
        + (left.parameters["outer"] ** 2).sum((0, 2, 3))
    )
    assert lost == {plan.kept["inner"][0][int(np.argmin(norms))]}
    assert entry.axis == 0


def test_channels_that_a_grouped_convolution_reads_are_filled_in_within_its_groups() -> None:
    body = """
        a = Conv <pads=[1,1,1,1]> (x, first) r = Relu(a)
        g = Conv <group=2, pads=[1,1,1,1]> (r, grouped) s = Relu(g)
        p = GlobalAveragePool(s) f = Flatten(p) y = Gemm <transB=1> (f, dense)
    """
    weights = {
        "first": weight(8, 3, 3, 3, seed=1),
        "grouped": weight(8, 4, 3, 3, seed=2),
        "dense": weight(5, 8, seed=3) * 4,
    }
    weights["first"][5] = weights["first"][1]  # a copy, but in the other group: of no use there
    weights["first"][2] = weights["first"][1]  # a copy in the same group
    weights["first"][6] = weights["first"][5]
    model = load_onnx(onnx_model(body, weights))
    channels = find_channels(model.module)
    context = Context(channels, model.parameters, 0, model, images(64))
    scores = score_units(context, "reconstruction")
    limits = tuple((1, group.width) for group in channels.groups)
    group = next(group for group in channels.groups if group.name == "first")
    [entry] = [entry for entry in group.slices if entry.parameter == "first"]
    pairs = {unit: set(entry.positions[entry.units == unit].tolist()) for unit in range(4)}
    assert sorted(map(sorted, pairs.values())) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    curve = sensitivity_curves(context, scores, limits)[group.index]
    assert curve is not None
    assert curve.loss[3] < 1e-3 * curve.loss[1]
    cheapest = int(np.argmin(scores[group.index]))
    assert pairs[cheapest] in ({1, 5}, {2, 6})


def test_a_group_of_which_one_unit_is_left_keeps_that_unit(model: Model) -> None:
    channels = find_channels(model.module)
    widths = tuple(group.width for group in channels.groups)
    scores = [np.arange(width, dtype=float) for width in widths]
    compilation = Compilation(model, channels, scores, tuple((1, w) for w in widths), None)
    index = next(group.index for group in channels.groups if group.name == "inner")
    chosen = tuple(1 if i == index else width for i, width in enumerate(widths))
    plan = compilation.plan(chosen)
    left = pruned_model(model, plan)
    groups = find_channels(left.module)
    scoring = score(left, groups, images(8), Settings(criterion="l2", objective="importance"))
    again = narrowed(compilation, plan, groups, scoring)
    assert again.limits[index] == (1, 1)
    assert again.plan(chosen).kept["inner"][0] == plan.kept["inner"][0] == (widths[index] - 1,)
