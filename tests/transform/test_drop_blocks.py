"""Blocks beside a shortcut: which are found, and what is left without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.onnx_models import onnx_model, weight

import tvm_prune
from tvm_prune.channels import find_channels
from tvm_prune.errors import PlanError
from tvm_prune.frontend import load_onnx
from tvm_prune.model import Model
from tvm_prune.transform import Block, drop_block, find_blocks
from tvm_prune.verification import reference_outputs

Array = NDArray[Any]
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "fashion_resnet8.onnx"
HEAD = "p = GlobalAveragePool(t) f = Flatten(p) y = Gemm <transB=1> (f, dense)"


@pytest.fixture(scope="module")
def model() -> Model:
    body = f"""
        a = Conv <pads=[1,1,1,1]> (x, stem) r = Relu(a)
        b = Conv <pads=[1,1,1,1]> (r, one__inner) n = BatchNormalization(b, one__scale,
            one__shift, one__mean, one__variance)
        s = Relu(n) c = Conv <pads=[1,1,1,1]> (s, one__outer) d = Add(c, r) t = Relu(d) {HEAD}
    """
    norm = {f"one.{name}": np.ones(6, "float32") for name in ("scale", "shift", "mean", "variance")}
    weights = {
        "stem": weight(4, 3, 3, 3, seed=1),
        "one.inner": weight(6, 4, 3, 3, seed=2),
        "one.outer": weight(4, 6, 3, 3, seed=3),
        "dense": weight(5, 4, seed=4),
        **norm,
    }
    return load_onnx(onnx_model(body, weights))


def images(count: int = 4) -> dict[str, Array]:
    data = np.random.default_rng(0).standard_normal((count, 3, 8, 8))
    return {"x": data.astype("float32")}


def test_a_residual_block_is_found_with_all_its_parameters(model: Model) -> None:
    [block] = find_blocks(model)
    assert block.name == "one"
    assert set(block.parameters) == {name for name in model.parameters if name.startswith("one.")}


def test_a_model_without_its_block_computes_what_the_shortcut_passes_on(model: Model) -> None:
    [block] = find_blocks(model)
    less = drop_block(model, block)
    assert set(less.parameters) == {"stem", "dense"}
    zero = {"one.outer": np.zeros_like(model.parameters["one.outer"])}
    silent = model.with_parameters({**model.parameters, **zero})
    [expected], [found] = (reference_outputs(each, images()) for each in (silent, less))
    [dense] = reference_outputs(model, images())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(dense - expected).max() > 1e-2
    assert {group.name for group in find_channels(less.module).groups} == {"stem"}
    assert find_blocks(less) == []


def test_the_example_network_can_lose_any_of_its_blocks() -> None:
    model = tvm_prune.load(EXAMPLE)
    blocks = find_blocks(model)
    names = [block.name for block in blocks]
    assert {"stage1", "stage2", "stage3", "stage2.shortcut", "stage3.shortcut"} == set(names)
    x = {"input": np.random.default_rng(0).random((2, 1, 28, 28)).astype("float32")}
    for block in blocks:
        less = drop_block(model, block)
        [logits] = reference_outputs(less, x)
        assert logits.shape == (2, 10)
        assert less.parameter_count < model.parameter_count


def test_sums_with_a_bias_or_of_a_tensor_with_itself_are_no_blocks() -> None:
    body = f"a = Conv(x, stem, bias) r = Relu(a) d = Add(r, r) t = Relu(d) {HEAD}"
    weights = {
        "stem": weight(4, 3, 1, 1), "bias": np.ones(4, "float32"), "dense": weight(5, 4),
    }  # fmt: skip
    assert find_blocks(load_onnx(onnx_model(body, weights))) == []


def test_a_block_that_is_not_there_is_an_error(model: Model) -> None:
    with pytest.raises(PlanError, match="no block 'other'"):
        drop_block(model, Block("other", ("nowhere",), "d", 0))
