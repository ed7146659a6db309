"""A plan that does not fit is refused in one sentence, and the module stays as it was."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import onnx
import pytest
import torch
from support.torch_networks import (
    Attention,
    Residual,
    assert_close,
    loaded,
    network,
    outputs,
    random_plan,
)
from torch import nn
from torch.nn import functional

import tvm_prune
from tvm_prune.errors import PlanError
from tvm_prune.plan import PruningPlan
from tvm_prune.torch import prune_module


def state(module: nn.Module) -> dict[str, Any]:
    """Everything that pruning may change."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        **{name: (id(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()},
        **{f"{name}()": (type(part), repr(part)) for name, part in module.named_modules()},
        **{f"{name}.training": part.training for name, part in module.named_modules()},
    }


def refusal(module: nn.Module, plan: PruningPlan, example: Any = None) -> str:
    before = state(module)
    with pytest.raises(PlanError) as caught:
        prune_module(module, plan, example=example)
    assert state(module) == before
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


def plan_of(name: str, axis: int, *indices: int, shape: tuple[int, ...] | None = None) -> Any:
    return PruningPlan({name: {axis: indices}}, {} if shape is None else {name: shape})


FAULTS: dict[str, tuple[PruningPlan, str]] = {
    "unknown name": (plan_of("conv1.wieght", 0, 1), "the nearest name is 'conv1.weight'"),
    "name unlike any": (plan_of("onnx::MatMul_1", 0, 1), "has no name like it"),
    "other shape": (
        plan_of("conv1.weight", 0, 1, shape=(10, 14, 3, 3)),
        r"\(10, 14, 3, 3\), but the module's is \(10, 12, 3, 3\). Was it pruned already",
    ),
    "transposed": (
        plan_of("fc.weight", 0, 1, shape=(12, 5)),
        r"transposed it; make the plan from the module itself",
    ),
    "axis out of range": (plan_of("conv1.bias", 1, 0), "axis 1 of 'conv1.bias', which has 1 axes"),
    "index out of range": (plan_of("conv1.bias", 0, 0, 10), r"each in 0\.\.9"),
    "index twice": (plan_of("conv1.bias", 0, 0, 0), "distinct indices"),
    "nothing left": (plan_of("conv1.bias", 0), "between 1 and 10"),
    "bias forgotten": (
        plan_of("conv1.weight", 0, 1),
        r"'conv1.bias' the shape \(10,\).*need \(1,\)",
    ),
    "statistics forgotten": (plan_of("norm.weight", 0, 1), "this BatchNorm2d"),
}


@pytest.mark.parametrize(("plan", "message"), FAULTS.values(), ids=FAULTS)
def test_a_plan_that_does_not_fit(plan: PruningPlan, message: str) -> None:
    assert re.search(message, refusal(Residual(), plan))


def test_a_plan_applied_twice() -> None:
    module, example = network("residual")
    plan = random_plan(tvm_prune.load(module, example=(example,)))
    prune_module(module, plan)
    assert "Was it pruned already?" in refusal(module, plan)


def test_uneven_groups() -> None:
    module = nn.Conv2d(8, 8, 1, groups=2, bias=False)
    text = refusal(module, plan_of("weight", 0, 0, 1, 2, 4))
    assert "keeps 1 to 3 channels in the groups" in text


def test_a_recurrent_layer() -> None:
    assert "recurrent layers cannot be pruned" in refusal(
        nn.ModuleDict({"rnn": nn.LSTM(4, 4)}), plan_of("rnn.weight_ih_l0", 1, 0)
    )


def test_a_parametrized_weight() -> None:
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)))
    name = "0.parametrizations.weight.original0"
    assert "remove_parametrizations on '0'" in refusal(module, plan_of(name, 0, 1))


def inflexible_view() -> tuple[nn.Module, Any, str]:
    module = nn.Sequential(nn.Linear(16, 16), Attention(flexible=False), nn.Linear(16, 5))
    return module, torch.randn(2, 6, 16), r"fails in '1' \(Attention\): .*keep=\('1',\)"


class Halves(nn.Module):
    """Two halves that lose differently many channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.left = nn.Linear(8, 5)
        self.right = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        left, right = torch.tanh(self.first(x)).chunk(2, -1)
        return self.left(left) + self.right(right)


def unequal_halves() -> tuple[nn.Module, Any, str]:
    module = nn.Sequential(Halves())
    return (
        module,
        torch.randn(2, 16),
        r"fails in '0\.(left|right)' \(Linear\), called by '0' \(Halves\)",
    )


class OwnScale(Attention):
    """Takes its scale from the width of the heads, which gets smaller."""

    def forward(self, x: Any) -> Any:
        query, key, value = (self.split(f(x)) for f in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


def silent_scale() -> tuple[nn.Module, Any, str]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 16), OwnScale(), nn.Linear(16, 5))
    nn.init.normal_(module[1].query.weight)
    return module, torch.randn(2, 6, 16), "differs from the dense one without these channels"


MODULES: dict[str, Callable[[], tuple[nn.Module, Any, str]]] = {
    "view": inflexible_view,
    "chunk": unequal_halves,
    "scale": silent_scale,
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_code_that_counts_on_channels_is_found_on_the_example(
    make: Callable[[], tuple[nn.Module, Any, str]],
) -> None:
    module, example, message = make()
    plan = random_plan(tvm_prune.load(module, example=(example,)), seed=3)
    before = outputs(module, example)
    text = refusal(module, plan, example=(example,))
    assert re.search(message, text)
    assert "The module was not changed." in text
    assert_close(outputs(module, example), before, tolerance=0)


@pytest.mark.parametrize(
    "example",
    [torch.randn(1, 4, 8, 8), {"image": torch.ones(1)}, ()],
    ids=["shape", "name", "none"],
)
def test_an_example_that_the_module_does_not_take(example: Any) -> None:
    module, _ = network("residual")
    text = refusal(module, random_plan(loaded("residual")), example=example)
    assert "The module does not run on the example" in text


def test_an_attribute_that_cannot_be_set_leaves_everything_as_it_was() -> None:
    class Fixed(nn.Linear):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "in_features" and "in_features" in vars(self):
                raise AttributeError("in_features is fixed")
            super().__setattr__(name, value)

    module = nn.Sequential(nn.Linear(4, 6), Fixed(6, 2))
    plan = random_plan(tvm_prune.load(module, example=torch.randn(1, 4)))
    before = state(module)
    with pytest.raises(AttributeError, match="in_features is fixed"):
        prune_module(module, plan)
    assert state(module) == before


def test_a_tensor_that_forward_makes_cannot_be_pruned() -> None:
    class Makes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.last(self.first(x) * torch.tensor([1.0, 2.0, 3.0]))

    module, example = Makes(), torch.randn(1, 4)
    plan = random_plan(tvm_prune.load(module, example=(example,)))
    assert "register it as a buffer" in refusal(module, plan)


def exported(module: nn.Module, example: Any) -> onnx.ModelProto:
    file = io.BytesIO()
    torch.onnx.export(module.eval(), (example,), file, dynamo=False, opset_version=17)
    return onnx.load_from_string(file.getvalue())


@pytest.mark.filterwarnings("ignore")
def test_a_plan_from_the_onnx_export_applies_where_names_agree() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.Flatten(), nn.Linear(128, 5)
    )
    example = torch.randn(1, 3, 8, 8)
    model = tvm_prune.load(exported(module, example))
    plan = random_plan(model)
    assert set(plan.kept) == {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight"}
    prune_module(module, plan, example=(example,))
    assert module[0].out_channels == module[2].in_channels < 12


@pytest.mark.filterwarnings("ignore")
def test_a_plan_from_an_export_that_transposed_a_weight_says_what_to_do() -> None:
    module = nn.Sequential(nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5))
    example = torch.randn(2, 6, 16)
    plan = random_plan(tvm_prune.load(exported(module, example)))
    text = refusal(module, plan)
    assert "tvm_prune.load(module, example=...)" in text
