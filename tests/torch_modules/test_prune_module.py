"""A plan applied to the user's own module gives the module that the Relax pass gives."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from support.torch_networks import (
    NETWORKS,
    assert_close,
    loaded,
    model_outputs,
    network,
    outputs,
    pruned,
    random_plan,
)
from torch import nn

import tvm_prune
from tvm_prune.plan import PruningPlan
from tvm_prune.torch import prune_module

each_network = pytest.mark.parametrize("name", NETWORKS)


@each_network
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pruned_module_computes_what_the_pruned_model_computes(name: str, seed: int) -> None:
    module, example = network(name)
    model = loaded(name)
    plan = random_plan(model, seed)
    dense = outputs(module, example)
    assert prune_module(module, plan, example=(example,)) is module
    expected = model_outputs(pruned(model, plan), example)
    assert_close(outputs(module, example), expected)
    assert np.abs(expected - dense).max() > 0.01 * np.abs(dense).max()


@each_network
def test_the_pruned_module_comes_back_through_load(name: str) -> None:
    module, example = network(name)
    model = loaded(name)
    plan = random_plan(model)
    prune_module(module, plan)
    again = tvm_prune.load(module, example=(example,))
    assert {name: value.shape for name, value in again.parameters.items()} == {
        name: value.shape for name, value in pruned(model, plan).parameters.items()
    }
    assert_close(model_outputs(again, example), outputs(module, example))


@each_network
def test_the_pruned_module_learns(name: str) -> None:
    module, example = network(name)
    plan = random_plan(loaded(name))
    prune_module(module.train(), plan, example=(example,))
    assert module.training
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-2)
    before = {name: value.clone() for name, value in module.named_parameters()}
    module(example).square().sum().backward()
    optimizer.step()
    changed = [name for name, value in module.named_parameters() if (value != before[name]).any()]
    assert len(changed) > 0.8 * len(before)
    assert all(value.isfinite().all() for value in module.parameters())


@each_network
def test_a_pruned_module_is_pruned_again(name: str) -> None:
    module, example = network(name)
    for seed in (0, 1):
        model = tvm_prune.load(module, example=(example,))
        plan = random_plan(model, seed)
        prune_module(module, plan, example=(example,))
        assert_close(outputs(module, example), model_outputs(pruned(model, plan), example))


def test_layer_attributes_follow() -> None:
    module, _ = network("grouped")
    model = loaded("grouped")
    prune_module(module, random_plan(model))
    for layer in (module.grouped, module.first, module.last):
        assert layer.weight.shape[0] == layer.out_channels
        assert layer.weight.shape[1] * layer.groups == layer.in_channels
    assert module.grouped.groups == module.norm.num_groups == 4
    assert module.slope.num_parameters == module.first.out_channels < 16
    assert module.norm.num_channels == module.grouped.out_channels < 24
    assert module.up.weight.shape[:2] == (module.up.in_channels, module.up.out_channels)
    depthwise = module.up_depthwise
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels < 12


def test_a_depthwise_layer_with_a_multiplier_loses_groups() -> None:
    module, _ = network("depthwise")
    prune_module(module, random_plan(loaded("depthwise")))
    layer = module.multiplied
    assert layer.groups == layer.in_channels < 16
    assert layer.out_channels == 2 * layer.in_channels


def test_norms_embeddings_and_linear_layers_follow() -> None:
    module, _ = network("words")
    prune_module(module, random_plan(loaded("words")))
    width = module.embedding.embedding_dim
    assert width < 16
    assert module.embedding.num_embeddings == 20
    assert module.norm.normalized_shape == (width,)
    assert module.fc1.in_features == width == module.shift.numel() == module.gain.numel()
    assert "shift" not in module.state_dict()
    assert (
        repr(module.fc2)
        == f"Linear(in_features={module.fc1.out_features}, out_features=5, bias=True)"
    )


def test_what_a_parameter_was_besides_its_shape_it_stays() -> None:
    class Marked(nn.Parameter):
        pass

    module, example = network("residual")
    module.stem.weight = Marked(module.stem.weight.detach())
    module.stem.weight.learning_rate = 0.5
    module.conv1.weight.requires_grad_(False)
    module.eval()(example).sum().backward()
    module.fc.train()
    plan = random_plan(loaded("residual"))
    prune_module(module, plan, example=(example,))
    assert type(module.stem.weight) is Marked
    assert module.stem.weight.learning_rate == 0.5
    assert module.stem.weight.grad is None
    assert isinstance(module.conv2.weight, nn.Parameter)
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == [
        "conv1.weight"
    ]
    assert (module.training, module.fc.training) == (False, True)
    assert not isinstance(module.norm.running_mean, nn.Parameter)


def test_without_an_example_nothing_is_run() -> None:
    module, _ = network("residual")
    plan = random_plan(loaded("residual"))

    def forward(_x: Any) -> Any:
        raise AssertionError("forward was called")

    module.forward = forward
    prune_module(module, plan)
    assert module.conv1.out_channels == len(plan.kept["conv1.weight"][0])


def test_recovered_weights_go_into_the_pruned_module() -> None:
    module, example = network("residual")
    model = loaded("residual")
    plan = random_plan(model)
    recovered = pruned(model, plan)
    recovered = recovered.with_parameters(
        {name: value * 1.1 for name, value in recovered.parameters.items()}
    )
    prune_module(module, plan)
    values = {name: torch.from_numpy(value) for name, value in recovered.parameters.items()}
    assert not module.load_state_dict(values, strict=False).unexpected_keys
    assert_close(outputs(module, example), model_outputs(recovered, example))


def test_a_plan_read_from_json_applies() -> None:
    module, example = network("residual")
    plan = random_plan(loaded("residual"))
    again = prune_module(copy.deepcopy(module), PruningPlan.from_json(plan.to_json()))
    np.testing.assert_array_equal(
        outputs(again, example), outputs(prune_module(module, plan), example)
    )


def test_a_plan_that_keeps_everything_changes_nothing() -> None:
    module, example = network("residual")
    before = dict(module.named_parameters())
    prune_module(module, PruningPlan({}, {}), example=(example,))
    assert all(value is before[name] for name, value in module.named_parameters())


def tied() -> tuple[nn.Module, Any]:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(20, 16)
            self.inner = nn.Linear(16, 16)
            self.head = nn.Linear(16, 20, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, words: Any) -> Any:
            return self.head(self.embedding(words) + torch.tanh(self.inner(self.embedding(words))))

    torch.manual_seed(0)
    return Tied(), torch.arange(6).reshape(1, 6)


def test_a_tied_weight_stays_tied() -> None:
    module, example = tied()
    model = tvm_prune.load(module, example=(example,), keep_tied=True)
    plan = random_plan(model)
    assert plan.kept["embedding.weight"]
    prune_module(module, plan, example=(example,))
    assert module.head.weight is module.embedding.weight
    assert module.embedding.embedding_dim == module.head.in_features < 16
    assert_close(outputs(module, example), model_outputs(pruned(model, plan), example))


def test_a_tied_weight_that_is_pruned_differently_for_its_uses_is_refused() -> None:
    module, example = tied()
    plan = random_plan(tvm_prune.load(module, example=(example,)))
    with pytest.raises(tvm_prune.errors.PlanError, match="load it with keep_tied=True"):
        prune_module(module, plan, example=(example,))
    assert module.embedding.weight.shape == (20, 16)


def test_a_tied_weight_needs_an_example() -> None:
    module, example = tied()
    plan = random_plan(tvm_prune.load(module, example=(example,), keep_tied=True))
    with pytest.raises(tvm_prune.errors.PlanError, match="give example="):
        prune_module(module, plan)


def test_a_weight_used_twice_is_refused_unless_tied() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(16, 12)
            self.again = nn.Linear(12, 12)
            self.last = nn.Linear(12, 5)

        def forward(self, x: Any) -> Any:
            x = torch.tanh(self.first(x))
            return self.last(torch.tanh(self.again(torch.tanh(self.again(x)))))

    module, example = Twice(), torch.randn(3, 16)
    free = random_plan(tvm_prune.load(module, example=(example,)))
    with pytest.raises(tvm_prune.errors.PlanError, match="keep_tied=True"):
        prune_module(module, free, example=(example,))
    model = tvm_prune.load(module, example=(example,), keep_tied=True)
    plan = random_plan(model)
    prune_module(module, plan, example=(example,))
    assert module.again.in_features == module.again.out_features < 12
    assert_close(outputs(module, example), model_outputs(pruned(model, plan), example))
