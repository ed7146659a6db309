"""Torchvision architectures with seeded random weights, as modules and as ONNX files.

    pip install torch==2.13.0 pillow torch-pruning
    pip install --no-deps torchvision      # its Python code is enough, its C++ ops are not loaded

The weights say nothing about accuracy; the architectures are the point.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLASSIFICATION = """alexnet vgg11 vgg11_bn vgg16 vgg16_bn resnet18 resnet34 resnet50 resnet101
resnext50_32x4d wide_resnet50_2 squeezenet1_0 squeezenet1_1 densenet121 densenet161 densenet169
densenet201 googlenet inception_v3 shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
shufflenet_v2_x2_0 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet0_5 mnasnet0_75
mnasnet1_0 mnasnet1_3 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
efficientnet_b4 efficientnet_v2_s efficientnet_v2_m regnet_y_400mf regnet_y_800mf regnet_y_1_6gf
regnet_x_400mf regnet_x_800mf regnet_x_1_6gf convnext_tiny convnext_small vit_b_16 vit_b_32 swin_t
swin_s swin_v2_t swin_v2_s maxvit_t""".split()
SEGMENTATION = """lraspp_mobilenet_v3_large deeplabv3_mobilenet_v3_large deeplabv3_resnet50
fcn_resnet50""".split()
ARCHITECTURES = (*CLASSIFICATION, *SEGMENTATION)

SIDES = {"inception_v3": 299, "swin_v2_t": 256, "swin_v2_s": 256}
OPSET = 17


def build(name: str) -> tuple[Any, Any]:
    """An architecture in evaluation mode, and an example input for it."""
    import torch

    _tolerate_missing_operators(torch)
    import torchvision.models as models

    torch.manual_seed(zlib.crc32(name.encode()))
    if name in SEGMENTATION:
        model = getattr(models.segmentation, name)(weights=None, weights_backbone=None)
        return _only_output(torch, model).eval(), torch.randn(1, 3, 128, 128)
    options = {}
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "aux_logits": False}
    side = SIDES.get(name, 224)
    return getattr(models, name)(weights=None, **options).eval(), torch.randn(1, 3, side, side)


def exported(name: str, folder: Path) -> Path:
    """Path of an architecture's ONNX file in a folder; it is written where it is missing."""
    path = folder / f"{name}.onnx"
    if path.exists():
        return path
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model, example = build(name)
    unfinished = path.with_suffix(".unfinished")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(unfinished),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
        )
    return unfinished.rename(path)


def _only_output(torch: Any, model: Any) -> Any:
    """A segmentation model that returns a tensor instead of a dictionary."""

    class Output(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            return self.model(image)["out"]

    return Output()


def _tolerate_missing_operators(torch: Any) -> None:
    """Let torchvision import although its compiled operators are not those of this torch."""
    implement, register = torch.library.Library.impl, torch.library.register_fake

    def impl(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return implement(self, *args, **options)
        except RuntimeError as error:
            if "does not exist" not in str(error):
                raise
            return None

    def register_fake(*args: Any, **options: Any) -> Callable[[Any], Any]:
        def apply(function: Any) -> Any:
            try:
                return register(*args, **options)(function)
            except RuntimeError:
                return function

        return apply

    torch.library.Library.impl = impl
    torch.library.register_fake = register_fake
