"""How long it takes to find the groups of a network: ours and Torch-Pruning, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.torchvision_zoo import build, exported
from tvm_prune.channels import find_channels
from tvm_prune.frontend import load

COMPARED = ("resnet50", "densenet121", "convnext_tiny", "maxvit_t")
TURNS = 5


def grouping_times(models: Path) -> list[dict[str, Any]]:
    """Median seconds and spread of both sides for every compared network.

    Ours is the time of `find_channels` on a loaded model: labels, groups, and the slices of every
    unit. Torch-Pruning's is that of building its dependency graph for the module; listing the
    groups comes on top, seconds for most networks and many minutes for maxvit_t, and is left out.

    Args:
        models: folder of the ONNX files.
    """
    rows = []
    for name in COMPARED:
        module = load(exported(name, models)).module
        network, example = build(name)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(TURNS):
            ours.append(_seconds(partial(find_channels, module)))
            theirs.append(_seconds(partial(_dependency_graph, network, example)))
        rows.append(
            {
                "architecture": name,
                "ours_seconds": statistics.median(ours),
                "ours_spread": _spread(ours),
                "torch_pruning_seconds": statistics.median(theirs),
                "torch_pruning_spread": _spread(theirs),
                "ratio": statistics.median(ours) / statistics.median(theirs),
            }
        )
    return rows


def _dependency_graph(network: Any, example: Any) -> Any:
    import torch_pruning

    return torch_pruning.DependencyGraph().build_dependency(network, example_inputs=example)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _spread(values: list[float]) -> float:
    """Range over median."""
    return (max(values) - min(values)) / statistics.median(values)
