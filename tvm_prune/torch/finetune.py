"""A plain loop that trains a pruned module a little more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tvm_prune.errors import DataError

Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Distillation:
    """Lets the dense module teach the pruned one (Hinton et al., "Distilling the Knowledge in a
    Neural Network", 2015).

    Attributes:
        teacher: the dense module; it is put into eval mode and not changed.
        weight: share of the teacher's part in the loss, 0..1; at 1 labels are not looked at.
        temperature: what both modules' logits are divided by.
    """  # noqa: D205

    teacher: Any
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise DataError(
                f"The weight of the distillation is {self.weight}; it must be within 0..1."
            )
        if not self.temperature > 0:
            raise DataError(
                f"The temperature of the distillation is {self.temperature}; it must be above 0."
            )

    def loss(self, inputs: Any, logits: Any) -> Any:
        """KL divergence of the softened predictions, times the squared temperature."""
        with torch.no_grad():
            wanted = _call(self.teacher, inputs)
        log_chances = functional.log_softmax(logits / self.temperature, dim=1)
        chances = functional.softmax(wanted / self.temperature, dim=1)
        divergence = functional.kl_div(log_chances, chances, reduction="batchmean")
        return divergence * self.temperature**2


def finetune(
    module: Any,
    batches: Iterable[tuple[Any, Any]],
    *,
    epochs: int = 2,
    learning_rate: float = 0.02,
    loss: Loss = functional.cross_entropy,
    optimizer: Any | None = None,
    distillation: Distillation | None = None,
    on_epoch: Callable[[int, float], None] = lambda _epoch, _loss: None,
) -> Any:
    """Train a pruned module, in place: SGD with momentum, and a rate that falls to zero.

    A reference, not a framework: a training loop of your own with a module from
    :func:`tvm_prune.torch.prune_module` in it does as well. Either way
    :func:`tvm_prune.rebuild` compiles what comes out.

    Args:
        module: the pruned module; its device is that of the batches.
        batches: inputs and targets, a data loader for example; gone through once an epoch. Inputs
            are a tensor, a tuple, or a mapping by name.
        epochs: passes over the batches.
        learning_rate: the highest rate; it rises over the first tenth and then falls as a cosine.
        loss: of outputs and targets, to be made small.
        optimizer: in place of SGD with Nesterov momentum 0.9 and weight decay 5e-4; its rates are
            the highest ones.
        distillation: lets the dense module teach; outputs have to be rows of logits.
        on_epoch: told the number of every epoch and its mean loss.

    Returns:
        The module itself, in eval mode.

    Raises:
        DataError: if there are no batches or no epochs.
    """
    count = _length(batches)
    if epochs < 1 or count == 0:
        raise DataError(f"Fine-tuning needs epochs and batches, not {epochs} and {count}.")
    optimizer = optimizer or torch.optim.SGD(
        module.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(epochs * count))
    if distillation is not None:
        distillation.teacher.eval()
    for epoch in range(1, epochs + 1):
        module.train()
        losses = []
        for inputs, targets in batches:
            optimizer.zero_grad()
            value = _loss(module, inputs, targets, loss, distillation)
            value.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(value.detach()))
        on_epoch(epoch, math.fsum(losses) / max(1, len(losses)))
    return module.eval()


def _loss(
    module: Any, inputs: Any, targets: Any, loss: Loss, distillation: Distillation | None
) -> Any:
    outputs = _call(module, inputs)
    if distillation is None:
        return loss(outputs, targets)
    taught = distillation.loss(inputs, outputs)
    if distillation.weight == 1:
        return taught
    return distillation.weight * taught + (1 - distillation.weight) * loss(outputs, targets)


def _rate(steps: int) -> Callable[[int], float]:
    """Share of the highest learning rate at every step."""
    rising = max(1, steps // 10)

    def rate(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return rate


def _length(batches: Any) -> int:
    try:
        return len(batches)
    except TypeError as error:
        raise DataError(
            "The batches have no length; give a list or a data loader, which can be gone through "
            "once an epoch."
        ) from error


def _call(module: Any, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return module(**inputs)
    if isinstance(inputs, Sequence):
        return module(*inputs)
    return module(inputs)
