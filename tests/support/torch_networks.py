"""Small PyTorch networks, one for every way channels are tied together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import tvm_prune
from support.exactness import random_removal
from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.frontend.agreement import run
from tvm_prune.model import Model
from tvm_prune.plan import PruningPlan
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import PruneChannels, prune_parameters

IMAGE = (2, 3, 8, 8)
SEQUENCE = (2, 6, 16)


class Residual(nn.Module):
    """A block of a ResNet with its stem and head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.conv1 = nn.Conv2d(12, 10, 3, padding=1)
        self.conv2 = nn.Conv2d(10, 12, 3, padding=1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        x = functional.relu(self.norm(self.stem(x)))
        x = functional.relu(x + self.conv2(functional.relu(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


class Depthwise(nn.Module):
    """An inverted residual with a squeeze-and-excitation gate, as MobileNets have."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.multiplied = nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(32, 8, 1),
            nn.SiLU(),
            nn.Conv2d(8, 32, 1),
            nn.Hardsigmoid(),
        )
        self.project = nn.Conv2d(32, 6, 1)

    def forward(self, x: Any) -> Any:
        x = self.multiplied(functional.relu6(self.depthwise(self.expand(x))))
        return self.project(x * self.gate(x))


class Dense(nn.Module):
    """Concatenation after concatenation."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 12, 16)
        self.stem = nn.Conv2d(3, 8, 3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in widths)
        self.fc = nn.Linear(20 * 9, 5)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(functional.elu(norm(x)))], 1)
        return self.fc(functional.max_pool2d(x, 2).flatten(1))


class Grouped(nn.Module):
    """Grouped convolutions, group norm, PReLU and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 1)
        self.slope = nn.PReLU(16, 0.1)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=4)
        self.norm = nn.GroupNorm(4, 24)
        self.up = nn.ConvTranspose2d(24, 12, 2, stride=2)
        self.up_depthwise = nn.ConvTranspose2d(12, 12, 3, padding=1, groups=12)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x: Any) -> Any:
        x = self.norm(self.grouped(self.slope(self.first(x))))
        return self.last(torch.tanh(self.up_depthwise(self.up(x))))


class Shuffled(nn.Module):
    """Channel shuffle whose sizes are read from the tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 1)
        self.second = nn.Conv2d(16, 16, 1, groups=2)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Any) -> Any:
        x = functional.relu(self.second(functional.relu(self.first(x))))
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return self.last(x.reshape(batch, channels, height, width))


class Encoder(nn.Module):
    """A transformer encoder on embedded patches, torch's own layers throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv1d(16, 16, 1)
        self.position = nn.Parameter(torch.randn(1, 6, 16))
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, activation="gelu"),
            num_layers=2,
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        x = self.patches(x.transpose(1, 2)).transpose(1, 2) + self.position
        return self.head(self.layers(x).mean(1))


class Attention(nn.Module):
    """Attention of the user's own that reads its sizes from the tensors."""

    def __init__(self, flexible: bool = True) -> None:
        super().__init__()
        self.heads, self.scale, self.flexible = 4, 4**-0.5, flexible
        self.norm = nn.RMSNorm(16, eps=1e-6)
        self.query = nn.Linear(16, 16, bias=False)
        self.key = nn.Linear(16, 16)
        self.value = nn.Linear(16, 16)
        self.out = nn.Linear(16, 16)

    def split(self, x: Any) -> Any:
        batch, length, _ = x.shape
        width = -1 if self.flexible else 4
        return x.view(batch, length, self.heads, width).transpose(1, 2)

    def forward(self, x: Any) -> Any:
        y = self.norm(x)
        query, key, value = (self.split(layer(y)) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class Words(nn.Module):
    """An embedding, a buffer and a plain tensor of as many channels."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.register_buffer("shift", torch.randn(16), persistent=False)
        self.gain = torch.randn(16)
        self.norm = nn.LayerNorm(16)
        self.fc1 = nn.Linear(16, 24)
        self.fc2 = nn.Linear(24, 5)

    def forward(self, words: Any) -> Any:
        x = self.norm((self.embedding(words) + self.shift) * self.gain)
        return self.fc2(functional.gelu(self.fc1(x)))


WORDS = torch.arange(12).reshape(2, 6)

NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...] | None]] = {
    "residual": (Residual, IMAGE),
    "depthwise": (Depthwise, IMAGE),
    "dense": (Dense, IMAGE),
    "grouped": (Grouped, IMAGE),
    "shuffled": (Shuffled, IMAGE),
    "encoder": (Encoder, SEQUENCE),
    "attention": (
        lambda: nn.Sequential(nn.Linear(16, 16), Attention(), nn.Linear(16, 5)),
        SEQUENCE,
    ),
    "words": (Words, None),
}


def network(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A module in training mode, with batch statistics of its own, and an example input."""
    torch.manual_seed(seed)
    build, shape = NETWORKS[name]
    module = build()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        if isinstance(part, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module, WORDS if shape is None else torch.randn(shape)


@cache
def loaded(name: str) -> Model:
    """The model of a network; modules of one name are equal, so that one import serves them all."""
    module, example = network(name)
    return tvm_prune.load(module, example=(example,))


def outputs(module: nn.Module, *arguments: Any) -> np.ndarray[Any, Any]:
    """What a module in eval mode computes; its mode is restored."""
    modes = {part: part.training for part in module.modules()}
    with torch.no_grad():
        result = module.eval()(*arguments).numpy()
    for part, mode in modes.items():
        part.training = mode
    return result


def model_outputs(model: Model, *arguments: Any) -> np.ndarray[Any, Any]:
    """What a model computes in ONNX Runtime: its first output."""
    names = [spec.name for spec in model.inputs]
    values = dict(zip(names, (argument.numpy() for argument in arguments), strict=True))
    return run(to_onnx(model), values)[model.outputs[0].name]


def random_plan(model: Model, seed: int = 0) -> PruningPlan:
    """A plan that takes something out of every group."""
    channels = find_channels(model.module)
    assert channels.groups
    assert not channels.labelling.barriers
    return plan_for_units(channels, random_removal(channels, seed), model.parameters)


def pruned(model: Model, plan: PruningPlan) -> Model:
    """The model after the Relax pass."""
    return replace(
        model,
        module=PruneChannels(plan)(model.module),
        parameters=prune_parameters(model.parameters, plan),
    )


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Equal relative to the largest expected value, which has to say something."""
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
