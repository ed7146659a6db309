"""Three small networks for Fashion-MNIST, trained from seeds: residual, depthwise, dense."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.one_a_core import one_a_core
from scripts.train_example import (
    DEFAULT_DATA,
    ResNet8,
    Settings,
    Split,
    hold_out,
    load_split,
    make_repeatable,
    torch_logits,
    train,
    training_batches,
)

CLASSES = 10
CALIBRATION = 512


def _step(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class MobileNet(nn.Module):  # type: ignore[misc]
    """MobileNet v1's depthwise separable blocks."""

    WIDTHS = ((64, 1), (128, 2), (128, 1), (192, 2), (192, 1))

    def __init__(self) -> None:
        super().__init__()
        blocks, width = [_step(1, 32, 3)], 32
        for outputs, stride in self.WIDTHS:
            blocks += [_step(width, width, 3, stride, groups=width), _step(width, outputs, 1)]
            width = outputs
        self.features = nn.Sequential(*blocks)
        self.dense = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.features(x).mean(dim=(2, 3)))


class DenseLayer(nn.Module):  # type: ignore[misc]
    """Batch norm, ReLU and convolution, whose output is put beside its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        bottleneck = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(bottleneck)))], dim=1)


class DenseNet(nn.Module):  # type: ignore[misc]
    """Two dense blocks with a transition between them."""

    GROWTH = 16
    LAYERS = 3

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, stride=2, padding=1, bias=False)
        first = [DenseLayer(32 + i * self.GROWTH, self.GROWTH) for i in range(self.LAYERS)]
        width = 32 + self.LAYERS * self.GROWTH
        self.transition = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1, bias=False),
            nn.AvgPool2d(2),
        )  # fmt: skip
        width //= 2
        second = [DenseLayer(width + i * self.GROWTH, self.GROWTH) for i in range(self.LAYERS)]
        width += self.LAYERS * self.GROWTH
        self.block1, self.block2 = nn.Sequential(*first), nn.Sequential(*second)
        self.norm = nn.BatchNorm2d(width)
        self.dense = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.transition(self.block1(self.stem(x))))
        return self.dense(functional.relu(self.norm(x)).mean(dim=(2, 3)))


ARCHITECTURES: Mapping[str, Callable[[], Any]] = {
    "resnet8": ResNet8,
    "mobilenet": MobileNet,
    "densenet": DenseNet,
}


class Data:
    """Fashion-MNIST: images to train on, images to calibrate with, the test set."""

    def __init__(self, seed: int, folder: Path = DEFAULT_DATA) -> None:
        generator = np.random.default_rng(seed)
        self.training, self.held_out = hold_out(load_split(folder, "train"), CALIBRATION, generator)
        self.test = load_split(folder, "t10k")

    @property
    def calibration(self) -> dict[str, Any]:
        """Images without labels, by the name of the networks' input."""
        return {"x": self.held_out.images}


class Batches:
    """Shuffled and shifted batches of a split, in another order every epoch."""

    def __init__(self, split: Split, seed: int) -> None:
        self.split, self.settings = split, Settings(seed=seed)
        self.generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.split) // self.settings.batch_size)

    def __iter__(self) -> Any:
        return iter(training_batches(self.split, self.settings, self.generator))


@dataclass(frozen=True)
class Training:
    """A network that is trained from a seed.

    Attributes:
        name: of its architecture.
        seed: of its weights, its images and their order.
        epochs: passes over the training images.
        folder: where it is kept.
    """

    name: str
    seed: int
    epochs: int
    folder: Path

    @property
    def path(self) -> Path:
        """Where its weights are once it is trained."""
        return self.folder / f"{self.name}-{self.seed}-{self.epochs}.pt"

    def network(self) -> Any:
        """The trained network."""
        network = ARCHITECTURES[self.name]()
        network.load_state_dict(torch.load(self.path))
        return network.eval()


def networks_in(cache: Path) -> Path:
    """Where networks are kept between runs, below a cache directory."""
    return cache / "benchmark-networks"


def trainings(
    names: Sequence[str], seeds: Sequence[int], epochs: int, cache: Path
) -> Iterator[Training]:
    """Networks of some architectures, of one seed after the other."""
    for seed, name in itertools.product(seeds, names):
        yield Training(name, seed, epochs, networks_in(cache))


def train_all(trainings: Sequence[Training]) -> Iterator[Training]:
    """Train the networks that are not trained yet; each one when it is."""
    missing = [training for training in trainings if not training.path.exists()]
    return (missing[place] for place, _ in one_a_core(_train, missing))


def _train(training: Training) -> None:
    settings = Settings(seed=training.seed, epochs=training.epochs, threads=1)
    make_repeatable(settings)
    network, data = ARCHITECTURES[training.name](), Data(training.seed)
    generator = np.random.default_rng(training.seed)
    train(network, data.training, data.held_out, settings, generator)
    training.folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), training.path)


def share_correct(network: Any, split: Split) -> float:
    """Accuracy of a network in PyTorch, 0..1."""
    logits = torch_logits(network, split.images)
    return float((logits.argmax(axis=1) == split.labels).mean())
