"""Groups of well-known architectures, counted from their papers."""

from __future__ import annotations

import numpy as np
import pytest
from support.accounting import assert_every_axis_accounted_for
from support.evaluate import compiled
from support.exactness import random_removal
from support.onnx_models import light

from tvm_prune.channels import find_channels, plan_for_units
from tvm_prune.frontend import load_onnx
from tvm_prune.transform import PruneChannels, mask_parameters, prune_parameters

FIRE_MODULES = [
    (16, 64),
    (16, 64),
    (32, 128),
    (32, 128),
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
]
SQUEEZENET = [64, *(width for s, e in FIRE_MODULES for width in (s, e, e))]
"""The stem, then squeeze, expand 1x1 and expand 3x3 of every fire module."""

BLOCKS = {64: 3, 128: 4, 256: 6, 512: 3}
RESNET50 = [64]
for width, blocks in BLOCKS.items():
    RESNET50 += [4 * width, *[width] * (2 * blocks)]

DENSE_LAYERS = [6, 12, 24, 16]
DENSENET121 = [64, 128, 256, 512, *[128, 32] * sum(DENSE_LAYERS)]
"""The stem, three transitions, then bottleneck and growth of every dense layer."""

EXPECTED = {"squeezenet": SQUEEZENET, "resnet50": RESNET50, "densenet121": DENSENET121}


@pytest.mark.parametrize(("name", "widths"), EXPECTED.items(), ids=EXPECTED)
def test_the_groups_are_those_of_the_architecture(name: str, widths: list[int]) -> None:
    model = load_onnx(light(name))
    channels = find_channels(model.module)
    assert not channels.labelling.barriers
    assert sorted(group.width for group in channels.groups) == sorted(widths)
    assert_every_axis_accounted_for(channels)


def test_only_input_and_classes_of_squeezenet_are_frozen() -> None:
    channels = find_channels(load_onnx(light("squeezenet")).module)
    reasons = {(entry.parameter, entry.axis): entry.reason for entry in channels.frozen}
    assert reasons.pop(("conv1_w_0", 1)) == "belongs to the input 'data_0'"
    assert set(reasons) == {("conv10_w_0", 0), ("conv10_b_0", 0)}
    assert set(reasons.values()) == {"is a model output"}


def test_pruning_squeezenet_is_exact() -> None:
    model = load_onnx(light("squeezenet"))
    channels = find_channels(model.module)
    generator = np.random.default_rng(0)
    parameters = {
        name: (
            generator.standard_normal(value.shape) * (2 / np.prod(value.shape[1:])) ** 0.5
            if value.ndim > 1
            else generator.uniform(-0.1, 0.1, value.shape)
        ).astype("float32")
        for name, value in model.parameters.items()
    }
    kept = random_removal(channels)
    plan = plan_for_units(channels, kept, parameters)
    runs = compiled({"dense": model.module, "pruned": PruneChannels(plan)(model.module)}, FAST)
    x = generator.standard_normal(model.inputs[0].shape).astype("float32")
    (expected,) = runs["dense"](x, mask_parameters(parameters, plan))
    (actual,) = runs["pruned"](x, prune_parameters(parameters, plan))
    (dense,) = runs["dense"](x, parameters)
    assert expected.std() > 1e-2 * expected.mean(), "all classes are equally likely"
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
    assert np.abs(dense - expected).max() > 0.1 * expected.max()


FAST = {"kind": "llvm", "opt-level": 1, "num-cores": 2}
"""A large model is worth some optimisation."""
