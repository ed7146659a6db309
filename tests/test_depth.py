"""Depth: a block that does nothing goes, one that matters stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight
from support.table_board import TableBoard

from tvm_prune import Settings
from tvm_prune.channels import find_channels
from tvm_prune.depth import groups_inside, prune_depth
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model
from tvm_prune.recover import imitate
from tvm_prune.transform import drop_block, find_blocks
from tvm_prune.verification import reference_outputs

Array = NDArray[Any]
BODY = """
    a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
    b = Conv <pads=[1,1,1,1]> (r, block__first) s = Relu(b)
    c = Conv <pads=[1,1,1,1]> (s, block__last) d = Add(c, r) t = Relu(d)
    e = Conv <pads=[1,1,1,1]> (t, two) u = Relu(e)
    p = GlobalAveragePool(u) f = Flatten(p) y = Gemm <transB=1> (f, dense)
"""


def network(strength: float) -> Model:
    """A network whose block adds more or less."""
    weights = {
        "one": weight(16, 3, 3, 3, seed=1),
        "block.first": weight(12, 16, 3, 3, seed=2),
        "block.last": weight(16, 12, 3, 3, seed=3) * strength,
        "two": weight(16, 16, 3, 3, seed=4),
        "dense": weight(4, 16, seed=5),
    }
    return load_onnx(onnx_model(BODY, {n: w.astype("float32") for n, w in weights.items()}))


def images(count: int = 32) -> dict[str, Array]:
    data = np.random.default_rng(0).standard_normal((count, 3, 8, 8))
    return {"x": data.astype("float32")}


class Board(TableBoard):
    """Serves more than one run."""

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("strength", "share", "dropped"), [(1e-4, 0.45, ("block",)), (2.0, 0.95, ())]
)
def test_a_block_goes_where_it_is_missed_less_than_channels(
    strength: float,
    share: float,
    dropped: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Board(lambda widths: float(widths[0] * widths[1]), tmp_path).install(monkeypatch)
    model = network(strength)
    result = prune_depth(
        model, most_blocks=1, parameters=f"{share}x", calibration=images(),
        settings=Settings(trials=1, samples=2, cache=tmp_path / "cache"),
    )  # fmt: skip
    assert result.dropped == dropped
    assert result.to_json()["dropped_blocks"] == list(dropped)
    assert result.model.parameter_count <= share * model.parameter_count
    assert result.dense_parameters == model.parameter_count
    assert ("block.first" in result.model.parameters) == (not dropped)


def bottlenecks() -> Model:
    """Two blocks with two groups inside each; the first adds hardly anything."""
    body = """
        a = Conv <pads=[1,1,1,1]> (x, one) r = Relu(a)
        b = Conv (r, weak__in) s = Relu(b)
        c = Conv <pads=[1,1,1,1]> (s, weak__mid) t = Relu(c)
        d = Conv (t, weak__out) e = Add(d, r) u = Relu(e)
        g = Conv (u, strong__in) h = Relu(g)
        i = Conv <pads=[1,1,1,1]> (h, strong__mid) j = Relu(i)
        k = Conv (j, strong__out) l = Add(k, u) m = Relu(l)
        n = Conv (m, two) o = Relu(n)
        p = GlobalAveragePool(o) f = Flatten(p) y = Gemm <transB=1> (f, dense)
    """
    weights = {
        "one": weight(16, 3, 3, 3, seed=1),
        "two": weight(16, 16, 1, 1, seed=2),
        "dense": weight(4, 16, seed=7),
    }
    for seed, (block, strength) in enumerate({"weak": 1e-3, "strong": 1.0}.items()):
        weights[f"{block}.in"] = weight(12, 16, 1, 1, seed=10 * seed + 3)
        weights[f"{block}.mid"] = weight(12, 12, 3, 3, seed=10 * seed + 4)
        weights[f"{block}.out"] = weight(16, 12, 1, 1, seed=10 * seed + 5) * strength
    return load_onnx(onnx_model(body, {n: w.astype("float32") for n, w in weights.items()}))


def test_a_block_has_the_groups_that_nothing_else_computes_or_reads() -> None:
    model = bottlenecks()
    channels = find_channels(model.module)
    inside = {block.name: groups_inside(channels, block) for block in find_blocks(model)}
    assert [len(groups) for groups in inside.values()] == [2, 2]
    assert not set(inside["weak"]) & set(inside["strong"])


@pytest.mark.parametrize("most", [1, 2])
def test_only_the_block_that_is_not_missed_goes(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Board(lambda widths: float(widths[0]), tmp_path).install(monkeypatch)
    model = bottlenecks()
    result = prune_depth(
        model, most_blocks=most, parameters="0.6x", calibration=images(),
        settings=Settings(trials=1, samples=2, cache=tmp_path / "cache"),
    )  # fmt: skip
    assert result.dropped == ("weak",)
    assert result.model.parameter_count <= 0.6 * model.parameter_count


def test_what_is_left_imitates_the_whole_model() -> None:
    model, x = network(0.5), images(64)
    less = drop_block(model, find_blocks(model)[0])
    taught = less.with_parameters(imitate(model, less, x))
    fresh = {"x": np.random.default_rng(1).standard_normal((16, 3, 8, 8)).astype("float32")}
    [wanted], [before], [after] = (reference_outputs(m, fresh) for m in (model, less, taught))
    assert ((after - wanted) ** 2).mean() < 0.7 * ((before - wanted) ** 2).mean()
