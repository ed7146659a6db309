"""Fine-tunes pruned networks, one on every core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import tvm_prune.torch
from benchmarks.accuracy_networks import Batches, Data, share_correct
from benchmarks.one_a_core import one_a_core
from scripts.train_example import Settings, make_repeatable


@dataclass(frozen=True)
class Pupil:
    """A pruned network to be fine-tuned.

    Attributes:
        path: where :func:`keep` put it.
        seed: of the data that its dense network was trained on, and of the order of the batches.
        epochs: passes over the training images.
    """

    path: Path
    seed: int
    epochs: int


def keep(network: Any, path: Path) -> None:
    """Put a pruned network where it can be fine-tuned from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network, path)


def finetuned(pupils: Sequence[Pupil]) -> Iterator[tuple[int, float]]:
    """Place and accuracy, on all test images, of each pupil, as soon as it is fine-tuned."""
    return one_a_core(_finetuned, pupils)


def _finetuned(pupil: Pupil) -> float:
    make_repeatable(Settings(seed=pupil.seed, threads=1))
    # Written by `keep`, with the classes of whatever pruned it.
    network = torch.load(pupil.path, weights_only=False)
    network.to(memory_format=torch.channels_last)
    data = Data(pupil.seed)
    batches = Batches(data.training, pupil.seed)
    tvm_prune.torch.finetune(network, batches, epochs=pupil.epochs)
    return share_correct(network, data.test)
