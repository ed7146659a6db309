"""Walks: what is streamed from checkpoints is what the whole model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

from tvm_prune.activations import Graph, Walk, activations, find_layers
from tvm_prune.frontend import load_onnx
from tvm_prune.to_onnx import to_onnx

Array = NDArray[Any]
BODY = """
    a = Conv <pads=[1,1,1,1]> (x, stem) r = Relu(a)
    b = Conv <pads=[1,1,1,1]> (r, inner) s = Relu(b)
    c = Conv <pads=[1,1,1,1]> (s, outer) d = Add(c, r)
    g = Conv <group=4, pads=[1,1,1,1]> (d, depthwise)
    p = GlobalAveragePool(g) f = Flatten(p) y = Gemm <transB=1> (f, dense)
"""


@pytest.fixture(scope="module")
def graph() -> Graph:
    weights = {
        "stem": weight(4, 3, 3, 3, seed=1),
        "inner": weight(6, 4, 3, 3, seed=2),
        "outer": weight(4, 6, 3, 3, seed=3),
        "depthwise": weight(4, 1, 3, 3, seed=4),
        "dense": weight(5, 4, seed=5),
    }
    return Graph(to_onnx(load_onnx(onnx_model(BODY, weights))))


@pytest.fixture(scope="module")
def batches() -> list[dict[str, Array]]:
    data = np.random.default_rng(0).standard_normal((6, 1, 3, 8, 8)).astype("float32")
    return [{"x": image} for image in data]


def whole(graph: Graph, batches: list[dict[str, Array]]) -> Array:
    session = onnxruntime.InferenceSession(graph.model.SerializeToString())
    return np.concatenate([session.run(None, batch)[0] for batch in batches])


def test_every_checkpoint_leads_to_the_same_outputs(
    graph: Graph, batches: list[dict[str, Array]]
) -> None:
    walk, expected = Walk(graph, batches), whole(graph, batches)
    for position in range(len(graph.nodes)):
        walk.advance(position, {})
        outputs = np.concatenate([row["y"] for row in walk.stream(["y"], {})])
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert set(walk.checkpoint[0]) == set(graph.live(len(graph.nodes) - 1))
    assert "x" not in walk.checkpoint[0]


def test_what_a_residual_join_needs_stays_alive(graph: Graph) -> None:
    layers = {layer.weight: layer for layer in find_layers(graph.model)}
    position = graph.made_at[layers["outer"].output]
    live = graph.live(position)
    assert layers["outer"].data in live
    assert layers["inner"].data in live
    assert len(live) == 2


def test_checkpoints_that_are_too_large_are_not_kept(
    graph: Graph, batches: list[dict[str, Array]]
) -> None:
    walk = Walk(graph, batches, memory=4 * 4 * len(batches) * 4)
    position = {layer.weight: graph.made_at[layer.output] for layer in find_layers(graph.model)}
    walk.advance(position["inner"], {})
    assert set(walk.checkpoint[0]) == {"x"}
    walk.advance(position["dense"], {})
    assert set(walk.checkpoint[0]) != {"x"}
    outputs = np.concatenate([row["y"] for row in walk.stream(["y"], {})])
    np.testing.assert_allclose(outputs, whole(graph, batches), rtol=1e-4, atol=1e-5)


def test_parameters_may_be_replaced(graph: Graph, batches: list[dict[str, Array]]) -> None:
    values = {"dense": np.zeros((5, 4), "float32")}
    [plain] = activations(graph.model, {}, ["y"], batches)
    [zeroed] = activations(graph.model, values, ["y"], batches)
    assert np.abs(plain).max() > 0
    assert (zeroed == 0).all()


def test_layers_are_found_with_their_groups_and_axes(graph: Graph) -> None:
    layers = {layer.weight: layer for layer in find_layers(graph.model)}
    assert list(layers) == ["stem", "inner", "outer", "depthwise", "dense"]
    assert {name: layer.groups for name, layer in layers.items()} == {
        "stem": 1, "inner": 1, "outer": 1, "depthwise": 4, "dense": 1,
    }  # fmt: skip
    assert layers["dense"].axes == (0, 1)
    assert not layers["dense"].is_convolution
