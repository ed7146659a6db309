"""Kernels of a made-up network, for methods that only look at what a kernel computes."""

from __future__ import annotations

from benchmarks.kernel_geometry import Structure, geometry
from benchmarks.predictors import Kernel

CONV = Structure("conv", "conv-T_add-compute", 1)
DEPTHWISE = Structure("depthwise", "depthwise-T_add", 1)
FC = Structure("fc", "fc-T_add", 1)
MAXPOOL = Structure("maxpool", "maxpool", 3)
MEAN = Structure("global_avgpool", "global_avgpool-T_divide", 1)


def kernel(structure: Structure, *shapes: tuple[int, ...], family: int = 0) -> Kernel:
    """A kernel whose arguments have these shapes."""
    identity = f"{structure.fused} {shapes}"
    return Kernel("net", family, (), 1, geometry(structure, shapes), identity)


def conv(inputs: int, outputs: int, image: int = 28, family: int = 0) -> Kernel:
    """A 3x3 convolution of stride 2 with a bias."""
    data, weight = (1, inputs, image, image), (outputs, inputs, 3, 3)
    result = (1, outputs, image // 2, image // 2)
    return kernel(CONV, data, weight, (1, outputs, 1, 1), result, family=family)


def depthwise(channels: int) -> Kernel:
    data = (1, channels, 14, 14)
    return kernel(DEPTHWISE, data, (channels, 1, 3, 3), (1, channels, 1, 1), data)


def fc(inputs: int, outputs: int) -> Kernel:
    return kernel(FC, (1, inputs), (inputs, outputs), (outputs,), (1, outputs))


def maxpool(channels: int) -> Kernel:
    return kernel(MAXPOOL, (1, channels, 56, 56), (1, channels, 28, 28))


def mean(channels: int) -> Kernel:
    return kernel(MEAN, (1, channels, 7, 7), (1, channels, 1, 1))
