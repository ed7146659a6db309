"""Parameters and multiply-accumulates at any widths are those of the pruned model itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from support.networks import Layers, build
from support.random_networks import networks
from tvm import IRModule, relax

from tvm_prune.channels import Channels, find_channels, keep_best, plan_for_units
from tvm_prune.frontend import load
from tvm_prune.model import Model
from tvm_prune.operations import multiply_accumulates
from tvm_prune.planner.counts import Extent, Product, multiply_accumulate_count, parameter_count
from tvm_prune.transform import pruned_model

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion_resnet8.onnx"
op = relax.op


def with_zeros(module: IRModule) -> Model:
    """A model around a module; its values do not matter here."""
    function = module["main"]
    weights = function.params[int(function.attrs["num_input"]) :]
    parameters = {
        weight.name: np.zeros([int(n) for n in weight.ty.shape.values], "float32")
        for weight in weights
    }
    return Model("counted", module, parameters, (), ())


def assert_counts_are_exact(model: Model, channels: Channels, seed: int) -> None:
    generator = np.random.default_rng(seed)
    parameters, macs = parameter_count(model, channels), multiply_accumulate_count(model, channels)
    dense = [group.width for group in channels.groups]
    assert parameters.at(dense) == model.parameter_count
    assert macs.at(dense) == multiply_accumulates(model.module)
    widths = [int(generator.integers(1, width + 1)) for width in dense]
    kept = keep_best([generator.random(width) for width in dense], widths)
    pruned = pruned_model(model, plan_for_units(channels, kept, model.parameters))
    assert parameters.at(widths) == pruned.parameter_count
    assert macs.at(widths) == multiply_accumulates(pruned.module)


@settings(max_examples=40)
@given(networks())
def test_counts_of_random_networks_are_exact(module: IRModule) -> None:
    model = with_zeros(module)
    assert_counts_are_exact(model, find_channels(module), seed=0)


@pytest.mark.parametrize(
    "path", [EXAMPLE, LIGHT / "light_densenet121.onnx", LIGHT / "light_shufflenet.onnx"]
)
def test_counts_of_real_architectures_are_exact(path: Path) -> None:
    model = load(path)
    assert_counts_are_exact(model, find_channels(model.module), seed=1)


def test_a_concatenation_is_counted_exactly() -> None:
    def body(net: Layers, x: object) -> object:
        left, right, more = net.block(x, 4), net.block(x, 6), net.block(x, 5)
        return net.head(net.conv(op.concat([left, right, more], axis=1), 7, 3))

    module = build(body)
    model, channels = with_zeros(module), find_channels(module)
    count = parameter_count(model, channels)
    assert max(len(product.groups) for product in count.products) == 4
    assert_counts_are_exact(model, channels, seed=3)


def test_a_product_multiplies_its_extents() -> None:
    product = Product(3, (Extent(2, ((0, 1), (2, 4))), Extent(0, ((2, 1),))))
    assert product.groups == (0, 2)
    assert product.at([5, 0, 7]) == 3 * (2 + 5 + 4 * 7) * 7
