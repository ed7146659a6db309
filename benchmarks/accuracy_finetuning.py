"""Fine-tunes pruned networks, one on every core: none is timed, and a thread each wastes least."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import tvm_prune.torch
from benchmarks.accuracy_networks import Batches, Data, share_correct
from scripts.train_example import Settings, make_repeatable

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
"""Names that glibc's mallopt has for its parameters."""


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
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        places = {pool.submit(_finetuned, pupil): place for place, pupil in enumerate(pupils)}
        for future in as_completed(places):
            yield places[future], future.result()


def _finetuned(pupil: Pupil) -> float:
    _hold_on_to_memory()
    make_repeatable(Settings(seed=pupil.seed, threads=1))
    # Written by `keep`, with the classes of whatever pruned it.
    network = torch.load(pupil.path, weights_only=False)
    network.to(memory_format=torch.channels_last)
    data = Data(pupil.seed)
    batches = Batches(data.training, pupil.seed)
    tvm_prune.torch.finetune(network, batches, epochs=pupil.epochs)
    return share_correct(network, data.test)


def _hold_on_to_memory() -> None:
    """Every batch asks for what the last one freed; the system clears it anew, a quarter of the
    time.
    """  # noqa: D205
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
