"""A kernel in the words of convolutional networks: operator, image, channels, window."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tvm.s_tir import Schedule

from tvm_prune.tuning import Workload

Shapes = Sequence[Sequence[int]]
"""Shapes of a kernel's arguments: inputs in the order of its operators, the output last."""

_REDUCTION = 2
"""What TVM calls an iterator that is summed over."""


@dataclass(frozen=True)
class Structure:
    """What a kernel is at any widths.

    Attributes:
        operator: ``conv``, ``depthwise``, ``fc``, ``maxpool``, ``global_avgpool`` or ``other``.
        fused: the operator and, after it, the elementwise stages that are fused to it.
        window: height of the pooling window; 1 for anything but ``maxpool``.
    """

    operator: str
    fused: str
    window: int


@dataclass(frozen=True)
class Geometry:
    """A kernel at some widths.

    Attributes:
        structure: what it is at any widths.
        image: height of the image that it reads (the images of the compared models are square).
        inputs: channels that it reads.
        outputs: channels that it writes.
        window: height of the weight or pooling window.
        stride: step of the window.
        operations: multiply-accumulates; for kernels without any, elements that pass through.
        parameters: elements of weight and bias.
    """

    structure: Structure
    image: int
    inputs: int
    outputs: int
    window: int
    stride: int
    operations: int
    parameters: int


def structure_of(workload: Workload) -> Structure:
    """Read off a kernel's stages what it computes."""
    shapes = [shape for _, shape in workload.arguments]
    stages = _stages(workload)
    main = next((index for index, (_, reduced) in enumerate(stages) if reduced), len(stages) - 1)
    name, reduced = stages[main]
    operator = _operator(name, bool(reduced), shapes)
    epilogue = [re.sub(r"\d+$", "", stage) for stage, _ in stages[main + 1 :]]
    window = reduced[0] if operator == "maxpool" else 1
    return Structure(operator, "-".join([operator, *epilogue]), window)


def _stages(workload: Workload) -> list[tuple[str, list[int]]]:
    """Name of every stage of a kernel, and the extents that it sums over."""
    schedule = Schedule(workload.mod, debug_mask="none")
    blocks = [
        schedule.get(block) for block in schedule.get_child_blocks(schedule.get_sblock("root"))
    ]
    return [
        (
            str(block.name_hint),
            [int(v.dom.extent) for v in block.iter_vars if int(v.iter_type) == _REDUCTION],
        )
        for block in blocks
    ]


def _operator(stage: str, reduces: bool, shapes: Shapes) -> str:
    if "conv2d" in stage:
        depthwise = shapes[1][1] == 1 and shapes[0][1] > 1
        return "depthwise" if depthwise else "conv"
    if "matmul" in stage:
        return "fc"
    if stage.startswith("pool_max"):
        return "maxpool"
    if reduces and len(shapes[-1]) == 4 and tuple(shapes[-1][2:]) == (1, 1):
        return "global_avgpool"
    return "other"


def geometry(structure: Structure, shapes: Shapes) -> Geometry:
    """A kernel at the widths that give its arguments these shapes."""
    data, result = shapes[0], shapes[-1]
    if structure.operator in ("conv", "depthwise"):
        return _convolution(structure, data, shapes[1], result)
    if structure.operator == "fc":
        inputs, outputs = data[-1], result[-1]
        return Geometry(
            structure, 1, inputs, outputs, 1, 1, math.prod(result) * inputs, (inputs + 1) * outputs
        )
    image = data[2] if len(data) == 4 else 1
    if structure.operator == "maxpool":
        window, stride = structure.window, round(image / result[2])
        passing = math.prod(result) * window**2
        return Geometry(structure, image, data[1], result[1], window, stride, passing, 0)
    passing = max(math.prod(data), math.prod(result))
    return Geometry(structure, image, data[1], result[1], 1, 1, passing, 0)


def _convolution(
    structure: Structure, data: Sequence[int], weight: Sequence[int], result: Sequence[int]
) -> Geometry:
    """A 2-D convolution in NCHW, with its bias."""
    return Geometry(
        structure=structure,
        image=data[2],
        inputs=data[1],
        outputs=result[1],
        window=weight[2],
        stride=round(data[2] / result[2]),
        operations=math.prod(result) * math.prod(weight[1:]),
        parameters=math.prod(weight) + result[1],
    )
