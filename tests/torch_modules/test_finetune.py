"""Fine-tuning of a pruned module, with and without a teacher."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import tvm_prune
from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.errors import DataError
from tvm_prune.torch import Distillation, finetune, prune_module


def classifier() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 3),
    )  # fmt: skip


def batches(count: int = 16) -> list[tuple[Any, Any]]:
    """Images whose class is where they are bright."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        labels = torch.randint(0, 3, (16,), generator=generator)
        images = torch.randn(16, 1, 8, 8, generator=generator) / 2
        for image, label in zip(images, labels, strict=True):
            image[0, :4, :4] += 2 * (label == 0)
            image[0, 4:, 4:] += 2 * (label == 1)
        found.append((images, labels))
    return found


def correct(module: Any) -> float:
    module.eval()
    with torch.no_grad():
        hits = [(module(x).argmax(1) == y).float().mean() for x, y in batches()]
    return float(sum(hits) / len(hits))


def pruned(module: Any) -> Any:
    model = tvm_prune.load(module, example=(batches()[0][0][:1],))
    channels = find_channels(model.module)
    kept = [torch.arange(group.width).numpy() % 3 == 0 for group in channels.groups]
    return prune_module(module, plan_for_units(channels, kept, model.parameters))


def test_a_pruned_module_learns_the_labels_and_comes_back_through_load() -> None:
    module = pruned(classifier())
    before = correct(module)
    told: list[tuple[int, float]] = []
    result = finetune(
        module, batches(), epochs=4, learning_rate=0.1,
        on_epoch=lambda epoch, loss: told.append((epoch, loss)),
    )  # fmt: skip
    assert result is module
    assert not module.training
    assert correct(module) > max(0.9, before)
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4]
    assert told[-1][1] < told[0][1]
    again = tvm_prune.load(module, example=(batches()[0][0][:1],))
    assert again.parameters["5.weight"].shape == (3, 16)


def test_a_teacher_alone_teaches_without_labels() -> None:
    teacher = classifier()
    finetune(teacher, batches(), epochs=4, learning_rate=0.1)
    before = copy.deepcopy(teacher.state_dict())
    student = pruned(copy.deepcopy(teacher))
    unlabelled = [(images, None) for images, _ in batches()]
    finetune(
        student, unlabelled, epochs=4, learning_rate=0.1,
        distillation=Distillation(teacher, weight=1.0),
    )  # fmt: skip
    assert correct(student) > 0.9
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])


def test_optimizer_and_loss_may_be_the_users_own() -> None:
    module = classifier()
    start = copy.deepcopy(module.state_dict())
    optimizer = torch.optim.Adam(module.parameters(), lr=0.0)
    finetune(module, batches(2), epochs=1, optimizer=optimizer, loss=lambda y, _: y.sum())
    assert torch.equal(module[0].weight, start["0.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batches": []}, "needs epochs and batches"),
        ({"batches": batches(1), "epochs": 0}, "needs epochs and batches"),
        ({"batches": iter(batches(1))}, "have no length"),
    ],
)
def test_what_cannot_be_trained_on_is_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        finetune(classifier(), **arguments)


@pytest.mark.parametrize("wrong", [{"weight": 1.5}, {"temperature": 0.0}])
def test_a_distillation_that_makes_no_sense_is_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="distillation"):
        Distillation(classifier(), **wrong)
