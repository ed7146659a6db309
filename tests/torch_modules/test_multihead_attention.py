"""Torch's own attention, after pruning, is what it was, with narrower heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.exactness import random_removal
from support.torch_networks import assert_close, model_outputs, pruned, random_plan
from torch import nn

import tvm_prune
from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.errors import PlanError
from tvm_prune.plan import PruningPlan
from tvm_prune.torch import PrunedAttention, prune_module


def attention(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(16, 4, **{"batch_first": True, **options}).eval()
    if layer.in_proj_bias is not None:
        nn.init.normal_(layer.in_proj_bias)
        nn.init.normal_(layer.out_proj.bias)
    return layer


def unpruned(**options: Any) -> tuple[nn.MultiheadAttention, nn.MultiheadAttention]:
    """A layer, and the same in the class for pruned layers with all of its channels."""
    layer, same = attention(**options), attention(**options)
    name = "in_proj_weight" if layer.in_proj_weight is not None else "q_proj_weight"
    shape = tuple(getattr(layer, name).shape)
    plan = PruningPlan({name: {0: tuple(range(shape[0]))}}, {name: shape})
    return layer, prune_module(same, plan)


MASKS = {
    "none": {},
    "causal": {"attn_mask": nn.Transformer.generate_square_subsequent_mask(5)},
    "boolean": {"attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1)},
    "per head": {"attn_mask": torch.randn(8, 5, 5)},
    "padding": {"key_padding_mask": torch.tensor([[False] * 5, [False] * 3 + [True] * 2])},
    "both": {
        "attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1),
        "key_padding_mask": torch.tensor([[False] * 5, [False] * 3 + [True] * 2]),
    },
}


@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("need_weights", [True, False])
def test_masks_mean_what_they_mean_to_torch(masks: dict[str, Any], need_weights: bool) -> None:
    layer, same = unpruned()
    assert type(same) is PrunedAttention
    x = torch.randn(2, 5, 16)
    options = {**masks, "need_weights": need_weights}
    expected, actual = layer(x, x, x, **options), same(x, x, x, **options)
    torch.testing.assert_close(actual[0], expected[0])
    torch.testing.assert_close(actual[1], expected[1])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("average", [True, False])
def test_layouts_are_those_of_torch(batch_first: bool, rank: int, average: bool) -> None:
    layer, same = unpruned(batch_first=batch_first)
    query, key = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    if rank == 2:
        query, key = query[0], key[1]
    expected = layer(query, key, key, average_attn_weights=average)
    actual = same(query, key, key, average_attn_weights=average)
    torch.testing.assert_close(actual, expected)


def test_other_widths_of_keys_and_values_are_those_of_torch() -> None:
    layer, same = unpruned(kdim=12, vdim=10, bias=False)
    query, key, value = torch.randn(2, 5, 16), torch.randn(2, 7, 12), torch.randn(2, 7, 10)
    torch.testing.assert_close(same(query, key, value), layer(query, key, value))


class Mixer(nn.Module):
    """Attention between two linear layers, with keys of another width."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.keys = nn.Linear(16, options.get("kdim", 16))
        self.attention = attention(**options)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        x, keys = torch.tanh(self.first(x)), torch.tanh(self.keys(x))
        return self.last(self.attention(x, keys, keys, need_weights=False)[0])


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 12, "vdim": 12}], ids=str)
@pytest.mark.parametrize("unit", ["dims", "heads"])
def test_pruned_attention_computes_what_the_pruned_model_computes(
    options: dict[str, Any], unit: Any
) -> None:
    module, x = Mixer(**options), torch.randn(1, 5, 16)
    model = tvm_prune.load(module, example=(x,))
    channels = find_channels(model.module, attention=unit)
    plan = plan_for_units(channels, random_removal(channels), model.parameters)
    prune_module(module, plan, example=(x,))
    layer = module.attention
    assert layer.out_proj.in_features == layer.num_heads * layer.value_dim < 16
    assert layer.num_heads == 4 or unit == "heads"
    with torch.no_grad():
        assert_close(module(x).numpy(), model_outputs(pruned(model, plan), x))


def test_a_layer_of_the_users_own_is_refused() -> None:
    class Own(nn.MultiheadAttention):
        pass

    module = nn.ModuleDict({"attention": Own(16, 4)})
    plan = PruningPlan({"attention.in_proj_weight": {1: (0, 1)}}, {})
    with pytest.raises(PlanError, match="'attention', a Own of your own"):
        prune_module(module, plan)


def test_uneven_heads_are_refused() -> None:
    rows = tuple(row for row in range(48) if row not in (0, 16, 32))
    with pytest.raises(PlanError, match="3 to 4 dimensions in the heads"):
        prune_module(attention(), PruningPlan({"in_proj_weight": {0: rows}}, {}))


def test_pruned_attention_is_pickled(tmp_path: Any) -> None:
    module, x = Mixer(), torch.randn(2, 5, 16)
    plan = random_plan(tvm_prune.load(module, example=(x,)))
    prune_module(module, plan, example=(x,))
    torch.save(module, tmp_path / "module.pt")
    again = torch.load(tmp_path / "module.pt", weights_only=False)
    torch.testing.assert_close(again(x), module(x))
