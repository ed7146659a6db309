"""Reconstruction: what removed channels did is taken over by those that are left."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.errors import ExportError
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model
from tvm_prune.plan import PruningPlan
from tvm_prune.recover import reconstruct
from tvm_prune.transform import masked_model, prune_parameters
from tvm_prune.verification import reference_outputs

Array = NDArray[Any]
PAD = "pads=[1,1,1,1]"
WIDTH = 8
"""Channels of the group that is pruned in every network here."""


def images(count: int, seed: int = 0, shape: Sequence[int] = (3, 8, 8)) -> dict[str, Array]:
    data = np.random.default_rng(seed).standard_normal((count, *shape))
    return {"x": data.astype("float32")}


def norm(width: int, seed: int = 5) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {
        "scale": generator.uniform(0.5, 1.5, width).astype("float32"),
        "shift": generator.standard_normal(width).astype("float32"),
        "mean": generator.standard_normal(width).astype("float32"),
        "variance": generator.uniform(0.5, 1.5, width).astype("float32"),
    }


def vector(width: int) -> Array:
    return np.random.default_rng(width).standard_normal(width).astype("float32")


FIRST = {"first": weight(WIDTH, 3, 3, 3, seed=1)}
POINTWISE = weight(4, WIDTH, 1, 1, seed=2)
WINDOW = weight(4, WIDTH, 3, 3, seed=2)
MATRIX = weight(5, WIDTH, seed=2)
MIX = f"a = Conv <{PAD}> (x, first) r = Relu(a)"
POOL = f"{MIX} p = GlobalAveragePool(r) f = Flatten(p)"

NETWORKS: dict[str, tuple[str, Mapping[str, Array]]] = {
    "pointwise convolution": (f"{MIX} y = Conv(r, second)", {"second": POINTWISE}),
    "convolution with a bias": (
        f"{MIX} y = Conv(r, second, bias)",
        {"second": POINTWISE, "bias": vector(4)},
    ),
    "padding": (f"{MIX} y = Conv <{PAD}> (r, second)", {"second": WINDOW}),
    "uneven padding": (f"{MIX} y = Conv <pads=[2,0,1,1]> (r, second)", {"second": WINDOW}),
    "stride": (f"{MIX} y = Conv <{PAD}, strides=[2,2]> (r, second)", {"second": WINDOW}),
    "uneven stride and no padding": (
        f"{MIX} y = Conv <strides=[1,3]> (r, second)",
        {"second": WINDOW},
    ),
    "dilation": (
        f"{MIX} y = Conv <pads=[2,2,2,2], dilations=[2,2]> (r, second)",
        {"second": WINDOW},
    ),
    "uneven dilation": (f"{MIX} y = Conv <dilations=[1,2]> (r, second)", {"second": WINDOW}),
    "uneven window": (
        f"{MIX} y = Conv <pads=[0,1,0,1]> (r, second)",
        {"second": weight(4, WIDTH, 1, 3, seed=2)},
    ),
    "convolution before a batch norm": (
        f"{MIX} c = Conv <{PAD}> (r, second)"
        " y = BatchNormalization(c, scale, shift, mean, variance)",
        {"second": WINDOW, **norm(4)},
    ),
    "batch norm in between": (
        f"a = Conv <{PAD}> (x, first) b = BatchNormalization(a, scale, shift, mean, variance)"
        f" r = Relu(b) y = Conv(r, second)",
        {"second": POINTWISE, **norm(WIDTH)},
    ),
    "dense layer": (
        f"{POOL} y = Gemm(f, second, bias)",
        {"second": np.ascontiguousarray(MATRIX.T), "bias": vector(5)},
    ),
    "dense layer, transposed": (
        f"{POOL} y = Gemm <transB=1> (f, second, bias)",
        {"second": MATRIX, "bias": vector(5)},
    ),
    "dense layer without a bias": (
        f"{POOL} y = Gemm <transB=1> (f, second)",
        {"second": MATRIX},
    ),
    "dense layer with a bias of two axes": (
        f"{POOL} y = Gemm <transB=1> (f, second, bias)",
        {"second": MATRIX, "bias": vector(5)[None, :]},
    ),
    "matrix product": (f"{POOL} y = MatMul(f, second)", {"second": MATRIX.T.copy()}),
    "matrix product with a bias": (
        f"{POOL} m = MatMul(f, second) y = Add(m, bias)",
        {"second": MATRIX.T.copy(), "bias": vector(5)},
    ),
    "dense layer on every pixel": (
        f"{MIX} t = Transpose <perm=[0,2,3,1]> (r) m = MatMul(t, second) y = Add(bias, m)",
        {"second": MATRIX.T.copy(), "bias": vector(5)},
    ),
    "convolution along one axis": (
        f"{MIX} s = Reshape(r, row) y = Conv <pads=[2,1], strides=[2]> (s, second)",
        {"second": weight(4, WIDTH, 3, seed=2), "row": np.array([1, WIDTH, 64])},
    ),
    "convolution along three axes": (
        f"{MIX} s = Reshape(r, block) y = Conv <pads=[0,1,1,1,0,1], dilations=[1,1,2]> (s, second)",
        {"second": weight(4, WIDTH, 2, 2, 3, seed=2), "block": np.array([1, WIDTH, 2, 4, 8])},
    ),
    "flattened image": (
        f"{MIX} f = Flatten(r) y = Gemm <transB=1> (f, second)",
        {"second": weight(5, WIDTH * 64, seed=2)},
    ),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def network(name: str, changes: Mapping[str, Array] | None = None) -> Model:
    body, weights = NETWORKS[name]
    return load_onnx(onnx_model(body, {**FIRST, **weights, **(changes or {})}))


def without(model: Model, *removed: int) -> PruningPlan:
    """The plan that removes these channels of the first layer."""
    channels = find_channels(model.module)
    [group] = [group for group in channels.groups if group.name == "first"]
    [first] = [entry for entry in group.slices if entry.parameter == "first"]
    kept = [np.ones(other.width, dtype=bool) for other in channels.groups]
    kept[group.index][first.units[np.isin(first.positions, removed)]] = False
    plan = plan_for_units(channels, kept, model.parameters)
    assert plan.kept["first"][0] == tuple(i for i in range(WIDTH) if i not in removed)
    return plan


def outputs(
    model: Model, plan: PruningPlan, values: Mapping[str, Array], x: Mapping[str, Array]
) -> Array:
    [result] = reference_outputs(masked_model(model, plan, values), x)
    return result


def dense_outputs(model: Model, x: Mapping[str, Array]) -> Array:
    [result] = reference_outputs(model, x)
    return result


def twins(name: str) -> Model:
    """The network with channel 6 a copy of channel 2, so that one of them can go."""
    model = network(name)
    changed = {key: value.copy() for key, value in model.parameters.items()}
    for key, value in changed.items():
        if key == "first" or (name == "batch norm in between" and key in norm(1)):
            value[6] = value[2]
    return model.with_parameters(changed)


@each_network
def test_a_channel_that_others_can_stand_in_for_is_not_missed(name: str) -> None:
    model = twins(name)
    plan = without(model, 6)
    x, fresh = images(800 if name == "flattened image" else 64), images(8, seed=1)
    expected = dense_outputs(model, fresh)
    scale = np.abs(expected).max()
    plain = prune_parameters(model.parameters, plan)
    values = reconstruct(model, plan, x)
    assert np.abs(outputs(model, plan, plain, fresh) - expected).max() > 1e-2 * scale
    assert np.abs(outputs(model, plan, values, fresh) - expected).max() <= 1e-4 * scale


@each_network
@pytest.mark.parametrize("removed", [(0,), (1, 2, 3, 4)])
def test_the_outputs_come_closer_to_those_of_the_dense_model(
    name: str, removed: tuple[int, ...]
) -> None:
    model = network(name)
    plan = without(model, *removed)
    fresh = images(32, seed=1)
    expected = dense_outputs(model, fresh)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, images(64))
    before, after = (
        float(((outputs(model, plan, each, fresh) - expected) ** 2).mean())
        for each in (plain, values)
    )
    assert after < before


@each_network
def test_names_shapes_and_types_are_those_of_the_pruned_parameters(name: str) -> None:
    model = network(name)
    plan = without(model, 1, 5)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, images(16))
    assert {key: (value.shape, value.dtype) for key, value in values.items()} == {
        key: (value.shape, value.dtype) for key, value in plain.items()
    }


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", ["padding", "dense layer", "flattened image"])
def test_the_error_on_held_out_samples_never_grows_however_few_samples_there_are(
    name: str, count: int
) -> None:
    """The last fifth of the samples, all of them where there are fewer than five."""
    model = network(name)
    plan = without(model, 0, 3, 4)
    x = images(count)
    held_out = {"x": x["x"][int(count * 0.8) :]}
    expected = dense_outputs(model, held_out)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, x)
    errors = [
        float(((outputs(model, plan, each, held_out) - expected) ** 2).mean())
        for each in (plain, values)
    ]
    assert errors[1] <= errors[0]


def test_only_what_reads_or_feeds_a_pruned_channel_changes() -> None:
    body = f"{MIX} c = Conv(r, second) s = Relu(c) y = Conv(s, third)"
    weights = {**FIRST, "second": POINTWISE, "third": weight(2, 4, 1, 1)}
    model = load_onnx(onnx_model(body, weights))
    plan = without(model, 0)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, images(32))
    np.testing.assert_array_equal(values["third"], plain["third"])
    assert np.abs(values["second"] - plain["second"]).max() > 1e-3


def test_later_layers_make_up_for_what_earlier_ones_could_not() -> None:
    body = f"{MIX} c = Conv <{PAD}> (r, second) s = Relu(c) y = Conv(s, third, bias)"
    weights = {
        **FIRST,
        "second": weight(6, WIDTH, 3, 3),
        "third": weight(2, 6, 1, 1),
        "bias": vector(2),
    }
    model = load_onnx(onnx_model(body, weights))
    channels = find_channels(model.module)
    kept = [np.arange(group.width) % 2 == 0 for group in channels.groups]
    plan = plan_for_units(channels, kept, model.parameters)
    fresh = images(32, seed=1)
    expected = dense_outputs(model, fresh)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, images(64))
    before, after = (
        float(((outputs(model, plan, each, fresh) - expected) ** 2).mean())
        for each in (plain, values)
    )
    assert after < 0.8 * before


def test_a_model_that_onnx_cannot_express_keeps_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_model: Model) -> None:
        raise ExportError("there is no such op")

    module = importlib.import_module("tvm_prune.recover.reconstruct")
    monkeypatch.setattr(module, "to_onnx", refuse)
    model = network("padding")
    plan = without(model, 0)
    plain = prune_parameters(model.parameters, plan)
    values = reconstruct(model, plan, images(4))
    assert set(values) == set(plain)
    for name, value in values.items():
        np.testing.assert_array_equal(value, plain[name])


def test_the_same_samples_and_seed_give_the_same_weights() -> None:
    model = network("stride")
    plan = without(model, 0, 7)
    one, again = (reconstruct(model, plan, images(16), seed=3) for _ in range(2))
    for name, value in one.items():
        np.testing.assert_array_equal(value, again[name])


def test_models_that_take_several_samples_at_once_are_reconstructed() -> None:
    body, weights = NETWORKS["dense layer, transposed"]
    proto = onnx_model(body, {**FIRST, **weights}, inputs="float[4,3,8,8] x")
    model = load_onnx(proto)
    plan = without(model, 0, 1)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, images(42))
    fresh = images(8, seed=1)
    expected = dense_outputs(model, fresh)
    before, after = (
        float(((outputs(model, plan, each, fresh) - expected) ** 2).mean())
        for each in (plain, values)
    )
    assert after < before


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        (
            f"{MIX} d = Conv <group=8, {PAD}> (r, depthwise) y = Conv(d, second)",
            {"depthwise": weight(8, 1, 3, 3), "second": POINTWISE},
        ),
        (
            f'{MIX} y = Conv <auto_pad="VALID"> (r, second)',
            {"second": WINDOW},
        ),
        (
            f"{POOL} y = Gemm <transB=1, alpha=0.5, beta=2.0> (f, second, bias)",
            {"second": MATRIX, "bias": vector(5)},
        ),
        (f"{POOL} y = MatMul(f, second)", {"second": np.ascontiguousarray(MATRIX.T)}),
        (
            f"{POOL} y = Gemm <transB=1> (f, second, bias)",
            {"second": MATRIX, "bias": np.array([0.5], "float32")},
        ),
        (
            f"{POOL} q = GlobalAveragePool(x) g = Flatten(q) n = Gemm(g, other)"
            " y = Gemm <transB=1> (f, second, n)",
            {"second": MATRIX, "other": weight(3, 5)},
        ),
    ],
    ids=[
        "depthwise",
        "automatic padding",
        "scaled dense layer",
        "matrix product",
        "one bias for all",
        "computed bias",
    ],
)
def test_layers_that_are_not_reconstructed_do_no_harm(
    body: str, weights: Mapping[str, Array]
) -> None:
    model = load_onnx(onnx_model(body, {**FIRST, **weights}))
    plan = without(model, 0, 3)
    x = images(32)
    held_out = {"x": x["x"][25:]}
    expected = dense_outputs(model, held_out)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, x)
    errors = [
        float(((outputs(model, plan, each, held_out) - expected) ** 2).mean())
        for each in (plain, values)
    ]
    assert 0 < errors[1] <= errors[0]


@pytest.mark.parametrize(
    "name", ["convolution with a bias", "convolution before a batch norm", "dense layer"]
)
def test_a_bias_or_a_running_mean_takes_over_what_removed_channels_gave_on_average(
    name: str,
) -> None:
    model = network(name)
    plan = without(model, 1, 2, 3, 4)
    fresh = images(64, seed=1)
    expected = dense_outputs(model, fresh)
    axes = (0, *range(2, expected.ndim))
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, images(64))
    before, after = (
        np.abs((outputs(model, plan, each, fresh) - expected).mean(axis=axes)).max()
        for each in (plain, values)
    )
    assert after < 0.2 * before


def test_weights_that_make_the_outputs_worse_are_not_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoil(recovery: Any, layer: Any) -> None:
        recovery.values[layer.weight] = recovery.values[layer.weight] + 1

    module = importlib.import_module("tvm_prune.recover.reconstruct")
    monkeypatch.setattr(module.Recovery, "refit", spoil)
    model = network("padding")
    plan = without(model, 0)
    plain = prune_parameters(model.parameters, plan)
    for name, value in reconstruct(model, plan, images(8)).items():
        np.testing.assert_array_equal(value, plain[name])


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        (
            f"{MIX} d = Conv <group=8, {PAD}> (r, depthwise) e = Relu(d) y = Conv(e, second)",
            {"depthwise": weight(8, 1, 3, 3), "second": POINTWISE},
        ),
        (
            f"{MIX} d = Conv <group=2, {PAD}> (r, grouped) e = Relu(d) y = Conv(e, second)",
            {"grouped": weight(8, 4, 3, 3), "second": POINTWISE},
        ),
        (
            f"{MIX} b = Conv <{PAD}> (x, other) c = Concat <axis=1> (r, b) y = Conv(c, second)",
            {"other": weight(4, 3, 3, 3, seed=7), "second": weight(4, 12, 1, 1, seed=2)},
        ),
        (
            f"{MIX} b = Conv <{PAD}> (r, inner, bias) c = Relu(b) d = Conv <{PAD}> (c, back)"
            " e = Add(d, r) s = Relu(e) y = Conv(s, second)",
            {
                "inner": weight(6, 8, 3, 3, seed=7), "bias": vector(6),
                "back": weight(8, 6, 3, 3, seed=8), "second": POINTWISE,
            },
        ),
    ],
    ids=["depthwise", "grouped", "concat", "residual join"],
)  # fmt: skip
def test_recovery_reaches_across(body: str, weights: Mapping[str, Array]) -> None:
    model = load_onnx(onnx_model(body, {**FIRST, **weights}))
    channels = find_channels(model.module)
    kept = [np.arange(group.width) % 4 != 1 for group in channels.groups]
    plan = plan_for_units(channels, kept, model.parameters)
    fresh = images(32, seed=1)
    expected = dense_outputs(model, fresh)
    plain, values = prune_parameters(model.parameters, plan), reconstruct(model, plan, images(64))
    before, after = (
        float(((outputs(model, plan, each, fresh) - expected) ** 2).mean())
        for each in (plain, values)
    )
    assert after < 0.8 * before


def test_of_two_branches_the_later_makes_up_for_what_the_earlier_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = f"{MIX} s = Conv(r, narrow) d = Conv <{PAD}> (r, block) y = Add(d, s)"
    weights = {"narrow": weight(4, WIDTH, 1, 1, seed=2), "block": weight(4, WIDTH, 3, 3, seed=3)}
    model = load_onnx(onnx_model(body, {**FIRST, **weights}))
    plan = without(model, 0, 1, 2)
    fresh = images(32, seed=1)
    expected = dense_outputs(model, fresh)
    together = outputs(model, plan, reconstruct(model, plan, images(128)), fresh)
    module = importlib.import_module("tvm_prune.recover.reconstruct")
    monkeypatch.setattr(module, "find_join", lambda *_: None)
    apart = outputs(model, plan, reconstruct(model, plan, images(128)), fresh)
    assert ((together - expected) ** 2).mean() < ((apart - expected) ** 2).mean()


def test_streamed_samples_leave_no_trace_of_the_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With no memory for checkpoints every layer starts from the inputs, and finds the same."""
    model = network("convolution before a batch norm")
    plan = without(model, 0, 7)
    kept = reconstruct(model, plan, images(16))
    walk = importlib.import_module("tvm_prune.activations.walk").Walk
    monkeypatch.setattr(walk, "advance", lambda *_: None)
    for name, value in reconstruct(model, plan, images(16)).items():
        np.testing.assert_allclose(value, kept[name], rtol=1e-4, atol=1e-5)
