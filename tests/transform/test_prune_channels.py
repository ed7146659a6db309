"""`PruneChannels` is a pass: before and after are Relax modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tvm
from hypothesis import given
from support.networks import Layers, build, random_parameters
from support.random_networks import networks
from tvm import IRModule, relax
from tvm.script import ir as I  # noqa: N812
from tvm.script import relax as R  # noqa: N812

from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.errors import PlanError
from tvm_prune.plan import PruningPlan
from tvm_prune.transform import PruneChannels, mask_parameters, prune_parameters

op = relax.op
Kept = Mapping[str, Mapping[int, tuple[int, ...]]]


def plan_of(module: IRModule, kept: Kept) -> PruningPlan:
    shapes = {name: value.shape for name, value in random_parameters(module).items()}
    return PruningPlan(kept, {name: shapes[name] for name in kept if name in shapes})


def pruned(module: IRModule, kept: Kept) -> IRModule:
    return PruneChannels(plan_of(module, kept))(module)


def chain(net: Layers, x: Any) -> Any:
    return net.conv(op.nn.relu(net.bias(net.conv(x, 8, 3))), 4)


CHAIN_KEPT: Kept = {"conv0": {0: (0, 2, 5)}, "bias1": {1: (0, 2, 5)}, "conv2": {1: (0, 2, 5)}}


@I.ir_module
class PrunedChain:
    @R.function
    def main(
        x: R.Tensor((2, 3, 6, 6), "float32"),  # noqa: N805
        conv0: R.Tensor((3, 3, 3, 3), "float32"),
        bias1: R.Tensor((1, 3, 1, 1), "float32"),
        conv2: R.Tensor((4, 3, 1, 1), "float32"),
    ) -> R.Tensor((2, 4, 6, 6), "float32"):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            h0 = R.nn.conv2d(x, conv0, padding=[1, 1, 1, 1])
            h1 = R.add(h0, bias1)
            h2 = R.nn.relu(h1)
            h3 = R.nn.conv2d(h2, conv2)
            out = h3
            R.output(out)
        return out


def test_a_chain_loses_rows_and_the_next_layer_columns() -> None:
    tvm.ir.assert_structural_equal(pruned(build(chain), CHAIN_KEPT), PrunedChain)


def split_and_join(net: Layers, x: Any) -> Any:
    parts = net.emit(op.split(net.conv(x, 8), [3], axis=1))
    return net.conv(op.concat([parts[1], parts[0]], axis=1), 4)


@I.ir_module
class PrunedSplit:
    @R.function
    def main(
        x: R.Tensor((2, 3, 6, 6), "float32"),  # noqa: N805
        conv0: R.Tensor((3, 3, 1, 1), "float32"),
        conv1: R.Tensor((4, 3, 1, 1), "float32"),
    ) -> R.Tensor((2, 4, 6, 6), "float32"):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            h0 = R.nn.conv2d(x, conv0)
            h1 = R.split(h0, [1], axis=1)
            h2 = h1[1]
            h3 = h1[0]
            h4 = R.concat((h2, h3), axis=1)
            h5 = R.nn.conv2d(h4, conv1)
            out = h5
            R.output(out)
        return out


def test_split_bounds_move_to_what_is_left_before_them() -> None:
    # The join puts channels 3..7 first: of them 4 and 7 stay, at positions 1 and 4.
    kept: Kept = {"conv0": {0: (2, 4, 7)}, "conv1": {1: (1, 4, 7)}}
    tvm.ir.assert_structural_equal(pruned(build(split_and_join), kept), PrunedSplit)


def flatten_and_depthwise(net: Layers, x: Any) -> Any:
    h = net.conv(net.conv(x, 4), 8, 3, groups=4)
    return net.linear(op.reshape(h, (2, 8 * 36)), 5)


@I.ir_module
class PrunedDepthwise:
    @R.function
    def main(
        x: R.Tensor((2, 3, 6, 6), "float32"),  # noqa: N805
        conv0: R.Tensor((3, 3, 1, 1), "float32"),
        conv1: R.Tensor((6, 1, 3, 3), "float32"),
        matmul2: R.Tensor((216, 5), "float32"),
    ) -> R.Tensor((2, 5), "float32"):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            h0 = R.nn.conv2d(x, conv0)
            h1 = R.nn.conv2d(h0, conv1, padding=[1, 1, 1, 1], groups=3)
            h2 = R.reshape(h1, R.shape([2, 216]))
            h3 = R.matmul(h2, matmul2)
            out = h3
            R.output(out)
        return out


def test_depthwise_groups_and_reshape_targets_shrink() -> None:
    columns = tuple(column for channel in (0, 1, 2, 3, 6, 7) for column in _columns(channel, 36))
    kept: Kept = {
        "conv0": {0: (0, 1, 3)},
        "conv1": {0: (0, 1, 2, 3, 6, 7)},
        "matmul2": {0: columns},
    }
    tvm.ir.assert_structural_equal(pruned(build(flatten_and_depthwise), kept), PrunedDepthwise)


def _columns(channel: int, area: int) -> range:
    return range(channel * area, (channel + 1) * area)


@given(networks())
def test_an_empty_plan_changes_nothing(module: IRModule) -> None:
    tvm.ir.assert_structural_equal(pruned(module, {}), module)


def test_a_plan_that_keeps_everything_changes_nothing() -> None:
    module = build(chain)
    tvm.ir.assert_structural_equal(pruned(module, {"conv0": {0: tuple(range(8))}}), module)


def test_the_given_module_is_left_alone() -> None:
    module = build(chain)
    pruned(module, CHAIN_KEPT)
    tvm.ir.assert_structural_equal(module, build(chain))


def test_it_runs_inside_a_sequence_of_passes() -> None:
    module = build(chain)
    passes = [
        relax.transform.DeadCodeElimination(),
        PruneChannels(plan_of(module, CHAIN_KEPT)),
        relax.transform.CanonicalizeBindings(),
    ]
    expected = relax.transform.CanonicalizeBindings()(PrunedChain)
    tvm.ir.assert_structural_equal(tvm.transform.Sequential(passes)(module), expected)


def test_values_attached_to_the_function_are_sliced_too() -> None:
    module = build(chain)
    values = random_parameters(module)
    attached = [tvm.runtime.tensor(value) for value in values.values()]
    module["main"] = module["main"].with_attr("params", attached)
    result = pruned(module, CHAIN_KEPT)["main"]
    expected = prune_parameters(values, plan_of(module, CHAIN_KEPT))
    for value, want in zip(result.attrs["params"], expected.values(), strict=True):
        np.testing.assert_array_equal(value.numpy(), want)


def test_other_functions_of_the_module_stay() -> None:
    module = build(chain)
    module["other"] = build(split_and_join)["main"]
    tvm.ir.assert_structural_equal(pruned(module, CHAIN_KEPT)["other"], module["other"])


BAD_PLANS: Mapping[str, tuple[Any, str]] = {
    "unknown parameter": ({"conv9": {0: (0,)}}, "parameter 'conv9', which the model does not have"),
    "axis too large": ({"conv0": {4: (0,)}}, "axis 4 of 'conv0', which has 4 axes"),
    "negative axis": ({"conv0": {-1: (0,)}}, "axis -1 of 'conv0', which has 4 axes"),
    "index too large": ({"conv0": {0: (0, 8)}}, "distinct indices of axis 0 of 'conv0'.* 0..7"),
    "negative index": ({"conv0": {0: (-1, 2)}}, "distinct indices of axis 0 of 'conv0'"),
    "index is a word": ({"conv0": {0: ("1", "2")}}, "distinct indices of axis 0"),
    "index is a list": ({"conv0": {0: ([1],)}}, "distinct indices of axis 0"),
    "index is a fraction": ({"conv0": {0: (0.5,)}}, "distinct indices of axis 0"),
    "twice the same": ({"conv0": {0: (2, 2)}}, "distinct indices of axis 0 of 'conv0'"),
    "nothing kept": ({"conv0": {0: ()}}, "keep between 1 and 8 distinct indices"),
    "kernel window": ({"conv0": {2: (0, 1)}}, "frozen"),
    "model output": ({"conv2": {0: (0, 1)}}, "frozen"),
    "model input": ({"conv0": {1: (0, 1)}}, "frozen"),
    "axis of extent 1": ({"bias1": {1: (1,), 2: ()}}, "indices of axis 2 of 'bias1'"),
    "pair with other choices": (
        {"conv0": {0: (0, 1)}, "bias1": {1: (0, 1)}, "conv2": {1: (0, 2)}},
        "keeps positions of axis [01] of '(conv|bias).' that live or die together",
    ),
    "half of a pair": ({"conv0": {0: (0, 1)}}, "of axis 1 of 'bias1' that live or die together"),
}


@pytest.mark.parametrize(("kept", "message"), BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_plan_that_does_not_fit_is_refused(kept: Kept, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        pruned(build(chain), kept)


def test_a_plan_for_other_shapes_is_refused_with_both_shapes() -> None:
    plan = PruningPlan({"conv0": {0: (0,)}}, {"conv0": (16, 3, 3, 3)})
    with pytest.raises(PlanError, match=r"\(16, 3, 3, 3\), but the model's is \(8, 3, 3, 3\)"):
        PruneChannels(plan)(build(chain))


def test_a_plan_does_not_apply_twice() -> None:
    module = build(chain)
    plan = plan_of(module, CHAIN_KEPT)
    with pytest.raises(PlanError, match="Was it pruned already"):
        PruneChannels(plan)(PruneChannels(plan)(module))


def test_a_group_cannot_lose_all_its_units() -> None:
    module = build(chain)
    with pytest.raises(PlanError, match="Group 'conv0' would lose all of its 8 channels"):
        plan_for_units(find_channels(module), [np.zeros(8, dtype=bool)], random_parameters(module))


def test_masked_values_are_the_pruned_ones_between_zeros() -> None:
    module = build(chain)
    values, plan = random_parameters(module), plan_of(module, CHAIN_KEPT)
    small, masked = prune_parameters(values, plan), mask_parameters(values, plan)
    for name, value in values.items():
        assert masked[name].shape == value.shape
        inside = prune_parameters(masked, plan)[name]
        np.testing.assert_array_equal(inside, small[name])
        assert np.count_nonzero(masked[name]) == np.count_nonzero(inside)


def test_masking_puts_new_values_where_the_kept_ones_were() -> None:
    module = build(chain)
    values, plan = random_parameters(module), plan_of(module, CHAIN_KEPT)
    corrected = {name: value + 1 for name, value in prune_parameters(values, plan).items()}
    masked = mask_parameters(values, plan, corrected)
    for name, value in corrected.items():
        np.testing.assert_array_equal(prune_parameters(masked, plan)[name], value)
