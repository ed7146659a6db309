"""PyTorch modules and exported programs arrive whole: same results, names, axes and shapes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.evaluate import evaluate
from support.torch_networks import (
    NETWORKS,
    SEQUENCE,
    assert_close,
    loaded,
    model_outputs,
    network,
    outputs,
)
from torch import nn
from torch.nn import functional

import tvm_prune
from tvm_prune.channels import find_channels
from tvm_prune.errors import ModelError


@pytest.mark.parametrize("name", NETWORKS)
def test_a_module_computes_the_same_and_every_channel_is_found(name: str) -> None:
    module, example = network(name)
    model = loaded(name)
    assert_close(model_outputs(model, example), outputs(module, example))
    channels = find_channels(model.module)
    assert not channels.labelling.barriers
    assert channels.groups
    assert model.name == type(module).__name__


def test_compiled_it_computes_the_same() -> None:
    module, example = network("residual")
    model = tvm_prune.load(module, example=(example,))
    (actual,) = evaluate(model.module, example.numpy(), model.parameters)
    assert_close(actual, outputs(module, example))


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_those_of_the_module(name: str) -> None:
    module, _ = network(name)
    model = loaded(name)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    plain = {"gain"} if name == "words" else set()
    assert set(model.parameters) == set(tensors) - counters | plain
    for name in set(tensors) - counters:
        np.testing.assert_array_equal(model.parameters[name], tensors[name].detach().numpy())


def test_the_users_module_is_left_alone() -> None:
    module, example = network("residual")
    module.fc.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = tvm_prune.load(module, example=(example,))
    assert (module.training, module.fc.training) == (True, False)
    assert all((value == before[name]).all() for name, value in module.state_dict().items())
    with torch.no_grad():
        module.fc.bias.zero_()
    assert np.abs(model.parameters["fc.bias"]).max() > 0


class Returning(nn.Module):
    """Returns whatever structure it is given a function for."""

    def __init__(self, structure: Callable[[Any], Any]) -> None:
        super().__init__()
        self.structure = structure
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        return self.structure(self.fc(x))


STRUCTURES: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "tensor": (lambda y: y, ["output"]),
    "tuple": (lambda y: (y, y + 1), ["output_0", "output_1"]),
    "mapping": (lambda y: {"out": y, "aux": y + 1}, ["out", "aux"]),
    "nested": (lambda y: {"out": [y, y * 2]}, ["out_0", "out_1"]),
}


@pytest.mark.parametrize(("structure", "names"), STRUCTURES.values(), ids=STRUCTURES)
def test_outputs_have_the_names_of_the_structure(
    structure: Callable[[Any], Any], names: list[str]
) -> None:
    model = tvm_prune.load(Returning(structure), example=torch.randn(2, 16))
    assert [spec.name for spec in model.outputs] == names
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("x", (2, 16))]


class TwoInputs(nn.Module):
    """Takes an image and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, image: Any, mask: Any) -> Any:
        return self.conv(image) * mask


@pytest.mark.parametrize(
    "given",
    [
        {"example": (torch.randn(1, 3, 4, 4), torch.randn(4, 4))},
        {"example": {"mask": torch.randn(4, 4), "image": torch.randn(1, 3, 4, 4)}},
        {"shapes": {"image": (1, 3, 4, 4), "mask": (4, 4)}},
    ],
    ids=["tuple", "mapping", "shapes"],
)
def test_inputs_are_given_in_three_ways(given: dict[str, Any]) -> None:
    model = tvm_prune.load(TwoInputs(), **given)
    assert {(spec.name, spec.shape) for spec in model.inputs} == {
        ("image", (1, 3, 4, 4)),
        ("mask", (4, 4)),
    }


def test_a_saved_program_is_the_same_model(tmp_path: Path) -> None:
    module, example = network("depthwise")
    program = torch.export.export(module.eval(), (example,))
    torch.export.save(program, tmp_path / "net.pt2")
    model = tvm_prune.load(tmp_path / "net.pt2")
    assert model.name == "net"
    assert_close(model_outputs(model, example), outputs(module, example))
    assert set(model.parameters) == set(tvm_prune.load(program).parameters)


def test_a_program_stays_as_it_was() -> None:
    module, example = network("words")
    program = torch.export.export(module.eval(), (example,))
    before = (str(program.graph_signature), set(program.state_dict), set(program.constants))
    tvm_prune.load(program)
    assert before == (str(program.graph_signature), set(program.state_dict), set(program.constants))
    assert_close(program.module()(example).detach().numpy(), outputs(module, example))


def test_a_dynamic_program_is_fixed_by_shapes() -> None:
    module = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        module, (torch.randn(2, 16),), dynamic_shapes={"input": {0: batch}}
    )
    model = tvm_prune.load(program, {"input": (5, 16)})
    assert model.inputs[0].shape == (5, 16)
    assert list(model.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    with pytest.raises(ModelError, match=r"'input' has the dynamic shape \[s\w*, 16\]; fix it"):
        tvm_prune.load(program)


def test_a_tied_weight_is_one_parameter_or_one_a_use() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(20, 16)
            self.head = nn.Linear(16, 20, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, words: Any) -> Any:
            return self.head(torch.tanh(self.embedding(words)))

    module, words = Tied(), torch.arange(4)
    apart = tvm_prune.load(module, example=(words,))
    assert list(apart.parameters) == ["embedding.weight", "embedding.weight#2"]
    together = tvm_prune.load(module, example=(words,), keep_tied=True)
    assert list(together.parameters) == ["embedding.weight"]


def attend(**options: Any) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        heads = x.view(2, 6, 4, 4).transpose(1, 2)
        keys = heads[:, :2] if options.get("enable_gqa") else heads
        return functional.scaled_dot_product_attention(heads, keys, keys, **options)

    return forward


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "attention": attend(),
    "attention with a scale": attend(scale=0.3),
    "causal attention": attend(is_causal=True),
    "attention with a float mask": attend(attn_mask=torch.randn(6, 6)),
    "attention with a boolean mask": attend(attn_mask=torch.ones(6, 6, dtype=torch.bool).tril()),
    "grouped-query attention": attend(enable_gqa=True),
    "attention without heads": lambda x: functional.scaled_dot_product_attention(x, x, x),
    "layer norm without weights": lambda x: functional.layer_norm(x, (16,)),
    "group norm without weights": lambda x: functional.group_norm(x.transpose(1, 2), 4),
    "rms norm without weight": lambda x: functional.rms_norm(x, (16,)),
    "one slope for all": lambda x: functional.prelu(x, torch.tensor([0.2])),
    "nearest upsampling": lambda x: functional.interpolate(x[:, None], scale_factor=1.5),
    "nearest to a size": lambda x: functional.interpolate(x[:, None], (7, 20)),
    "bilinear upsampling": lambda x: functional.interpolate(
        x[:, None], scale_factor=2.0, mode="bilinear"
    ),
    "aligned corners": lambda x: functional.interpolate(
        x[:, None], (9, 30), mode="bilinear", align_corners=True
    ),
    "bicubic upsampling": lambda x: functional.interpolate(
        x[:, None], scale_factor=2.0, mode="bicubic"
    ),
    "pixel shuffle": lambda x: functional.pixel_shuffle(x.view(2, 24, 2, 2), 2),
    "einsum": lambda x: torch.einsum("bic,bjc->bij", x, x),
    "in-place activation": lambda x: functional.relu_(x + 0.1).add_(1.0),
    "write to a slice": lambda x: torch.cat([x[:, :2] * 2, x[:, 2:]], 1),
    "negative position": lambda x: x[:, -1],
    "roll": lambda x: torch.roll(x, (1, -2), (1, 2)),
    "rows by a table": lambda x: x[:, torch.tensor([0, 2, 2])],
    "same padding": lambda x: functional.conv1d(x, torch.ones(3, 6, 3), padding="same"),
    "adaptive pooling": lambda x: functional.adaptive_avg_pool2d(x[:, None], (3, 4)),
    "ceiling pooling": lambda x: functional.max_pool2d(x[:, None], 3, 2, 1, ceil_mode=True),
    "average without padding": lambda x: functional.avg_pool2d(
        x[:, None], 3, 2, 1, count_include_pad=False
    ),
    "volumes": lambda x: functional.conv_transpose3d(
        x.view(2, 6, 4, 2, 2), torch.ones(6, 3, 2, 2, 2), torch.ones(3), stride=2
    ),
    "instance norm": lambda x: functional.instance_norm(x),
    "statistics": lambda x: torch.cat([x.std(1), x.var(1, unbiased=False)], -1),
    "both statistics": lambda x: torch.cat([*torch.var_mean(x, (1, 2)), *torch.std_mean(x, 1)[0]]),
    "extrema": lambda x: torch.cat([x.amax(1), x.amin((0, 1))[None], x.logsumexp(1)]),
    "extrema and where": lambda x: x.max(1)[0] + x.min(1)[1],
    "adaptive max pooling": lambda x: functional.adaptive_max_pool2d(x[:, None], (3, 4)),
    "tracked instance norm": lambda x: functional.instance_norm(
        x, torch.linspace(-1, 1, 6), torch.linspace(1, 2, 6), use_input_stats=False
    ),
    "gelu by tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "local response": lambda x: functional.normalize(x, dim=-1),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_computes_the_same(function: Callable[[Any], Any]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16, 16)

        def forward(self, x: Any) -> Any:
            return function(self.fc(x))

    torch.manual_seed(0)
    module, example = Net(), torch.randn(SEQUENCE)
    model = tvm_prune.load(module, example=(example,))
    assert_close(model_outputs(model, example), outputs(module, example))
