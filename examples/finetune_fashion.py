#!/usr/bin/env python3
"""Prune the example network, fine-tune it in PyTorch, and compile what comes out.

Usage::

    python examples/finetune_fashion.py [--latency 0.33x] [--epochs 2] [--trials 16]
                                        [--samples 12] [--output DIR]

It needs ``torch`` and Fashion-MNIST (``apt-get install dataset-fashion-mnist``), and is meant to
take less than ten minutes on two cores, most of it tuning and measuring the first time; the effort
is less than ``tvm-prune prune`` makes by default. Three accuracies are printed: of the dense
network, of the pruned one with its weights recovered from 512 unlabelled images, and of the same
after fine-tuning with the dense network as its teacher.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

EXAMPLES = Path(__file__).resolve().parent
sys.path.insert(0, str(EXAMPLES.parent))

import tvm_prune  # noqa: E402
import tvm_prune.torch  # noqa: E402
from scripts.train_example import (  # noqa: E402
    DEFAULT_DATA,
    ResNet8,
    Settings,
    Split,
    as_network_input,
    load_split,
    training_batches,
)


class Batches:
    """Batches of shuffled and shifted images; another order every epoch."""

    def __init__(self, split: Split, seed: int) -> None:
        self.split = split
        self.settings = Settings(seed=seed)
        self.generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.split) // self.settings.batch_size)

    def __iter__(self) -> Any:
        return iter(training_batches(self.split, self.settings, self.generator))


def trained_network() -> Any:
    """The example network in PyTorch, with the weights of its ONNX file."""
    proto = onnx.load(EXAMPLES / "fashion_resnet8.onnx")
    weights = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in proto.graph.initializer
    }
    network = ResNet8()
    missing = network.load_state_dict(weights, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    return network.eval()


def main() -> None:
    """Prune, fine-tune, compile; print what each step brings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--latency", default="0.33x", help="budget (default 0.33x)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--trials", type=int, default=16, help="tuning trials a kernel")
    parser.add_argument("--samples", type=int, default=12, help="pruned models to learn from")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--output", type=Path, default=Path("out"))
    options = parser.parse_args()
    started = time.monotonic()

    network = trained_network()
    teacher = copy.deepcopy(network)
    test = dict(np.load(EXAMPLES / "fashion_test.npz"))
    evaluation = {"x": test["input"], "label": test["label"]}
    calibration = {"x": np.load(EXAMPLES / "fashion_calibration.npz")["input"]}
    settings = tvm_prune.Settings(trials=options.trials, samples=options.samples)

    image = as_network_input(test["input"][:1])
    model = tvm_prune.load(network, example=(image,))
    result = tvm_prune.prune(
        model,
        latency=options.latency,
        calibration=calibration,
        evaluation=evaluation,
        settings=settings,
    )
    print(f"dense network:            {result.dense_accuracy:.2%}")
    print(f"pruned and recovered:     {result.accuracy:.2%}, {result.latency_ratio:.2f}x latency")

    tvm_prune.torch.prune_module(network, result.plan, example=(image,))
    recovered = {name: torch.from_numpy(v.copy()) for name, v in result.model.parameters.items()}
    network.load_state_dict(recovered, strict=False)
    for module in (network, teacher):
        module.to(memory_format=torch.channels_last)  # trains faster on a processor
    tvm_prune.torch.finetune(
        network,
        Batches(load_split(options.data, "train"), seed=1),
        epochs=options.epochs,
        distillation=tvm_prune.torch.Distillation(teacher),
        on_epoch=lambda epoch, loss: print(f"  epoch {epoch}: loss {loss:.4f}", flush=True),
    )

    tuned = tvm_prune.rebuild(
        model,
        result,
        network.state_dict(),
        calibration=calibration,
        evaluation=evaluation,
        settings=settings,
    )
    print(f"fine-tuned and compiled:  {tuned.accuracy:.2%}, {tuned.latency_ratio:.2f}x latency")
    tuned.save(options.output)
    print(f"written to {options.output}/ after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
